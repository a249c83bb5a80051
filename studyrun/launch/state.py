"""What a run folder says of itself: its state, and whether the process that fills it still lives."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from studyrun.errors import RunFolderError
from studyrun.trace.folder import read_json
from studyrun.trace.process import is_here, lives

DONE = ("complete", "diverged")
"""States in which nothing is left to do: an arm that diverged is a result."""
NOT_STARTED = "not started"
KILLED = "killed"


MOST_AT_ONCE = 4096
"""Threads, or workers, of one machine: more is no number that a run has written."""
_LONGEST = 1e11  # seconds, some three thousand years


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def is_count(value: object) -> bool:
    """Whether a run may have written this as its number of threads, or a sweep as that of its workers."""
    return type(value) is int and 0 < value <= MOST_AT_ONCE


def _is_step(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_amount(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value < _LONGEST  # type: ignore[operator]


def _are_arms(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


def _are_members(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(one, dict) and "state" in one for one in value.values())


_KINDS: Mapping[str, Callable[[object], bool]] = {
    "state": _is_text,
    "arm": _is_text,
    "step": _is_step,
    "fraction": _is_amount,
    "seconds": _is_amount,
    "workers": is_count,
    "threads": is_count,
    "arms": _are_arms,
    "members": _are_members,
}


def read_status(folder: Path) -> dict[str, Any]:
    """status.json as far as it can be believed, nothing where it cannot be read.

    A run needs none of its notes to go on, so an entry of a kind that no run writes counts as not said.
    """
    try:
        content = read_json(folder / "status.json")
    except RunFolderError:
        return {}
    return {key: value for key, value in content.items() if key not in _KINDS or _KINDS[key](value)}


def command_of(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """The command that began a run, as its provenance has it; empty where that cannot be believed."""
    command = facts.get("command")
    return tuple(command) if isinstance(command, list) and all(map(_is_text, command)) else ()


def state_of(folder: Path) -> str:
    """The folder's state; `killed` where it says running and its process on this host is gone."""
    status = read_status(folder)
    state: str = status.get("state", NOT_STARTED)
    return KILLED if state == "running" and is_here(status) and not alive(status) else state


def alive(status: Mapping[str, Any]) -> bool:
    """Whether the process that wrote this status runs on this host still, this very process left out."""
    return status.get("pid") != os.getpid() and lives(status)
