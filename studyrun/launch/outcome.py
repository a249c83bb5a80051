"""How a launch ended: the folder, its state, and the state of each arm or member."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from studyrun.launch.state import DONE


@dataclass(frozen=True, slots=True)
class MemberOutcome:
    """How one member of a sweep ended; `error` says why where it failed."""

    name: str
    state: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run or a sweep ended. `already` says that there was nothing left to do."""

    folder: Path
    state: str
    arms: Mapping[str, str] = field(default_factory=dict)
    members: tuple[MemberOutcome, ...] = ()
    already: bool = False


def joint_state(states: Sequence[str], stopped: bool) -> str:
    """The state of a sweep whose members are in these states; `stopped` if somebody asked it to stop."""
    unfinished = [state for state in states if state not in (*DONE, "failed")]
    if "failed" in states and not (stopped and unfinished):
        return "failed"
    if unfinished:
        return "interrupted"
    return "diverged" if "diverged" in states else "complete"
