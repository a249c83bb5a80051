"""What a run folder says of itself: its state, and whether the process that fills it still lives."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from studyrun.errors import RunFolderError

DONE = ("complete", "diverged")
"""States in which nothing is left to do: an arm that diverged is a result."""
NOT_STARTED = "not started"
KILLED = "killed"
_SLACK = 5.0  # seconds by which /proc's clock may differ from the one that status.json was written by


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
    return KILLED if state == "running" and status.get("host") == socket.gethostname() and not alive(status) else state


def alive(status: Mapping[str, Any]) -> bool:
    """Whether the process that wrote this status runs on this host still, this very process left out."""
    pid = status.get("pid")
    if not isinstance(pid, int) or status.get("host") != socket.gethostname() or pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    born = _born(pid)
    return born is None or born <= float(status.get("started", born)) + _SLACK


def check_free(folder: Path) -> None:
    """Raise `RunFolderError` if a living process of this host is filling the folder."""
    status = read_status(folder)
    if status.get("state") == "running" and alive(status):
        raise RunFolderError(
            f"{folder} is being filled by process {status['pid']} on this host; wait for it, or stop it first "
            f"(kill {status['pid']})"
        )


def _born(pid: int) -> float | None:
    """When a process began, in seconds since the epoch, or None where the system does not say.

    A number that is given again after a reboot or in a fresh container belongs to a younger process.
    """
    try:
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        booted = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
        return float(booted.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, StopIteration):
        return None
