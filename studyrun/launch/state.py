"""What a run folder says of itself: its state, and whether the process that fills it still lives."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from studyrun.trace.process import is_here, lives

DONE = ("complete", "diverged")
"""States in which nothing is left to do: an arm that diverged is a result."""
NOT_STARTED = "not started"
KILLED = "killed"


def read_status(folder: Path) -> dict[str, Any]:
    """status.json, or nothing where there is none or it does not parse."""
    with suppress(OSError, ValueError):
        content = json.loads((folder / "status.json").read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
    return {}


def state_of(folder: Path) -> str:
    """The folder's state; `killed` where it says running and its process on this host is gone."""
    status = read_status(folder)
    state = str(status.get("state", NOT_STARTED))
    return KILLED if state == "running" and is_here(status) and not alive(status) else state


def alive(status: Mapping[str, Any]) -> bool:
    """Whether the process that wrote this status runs on this host still, this very process left out."""
    return status.get("pid") != os.getpid() and lives(status)
