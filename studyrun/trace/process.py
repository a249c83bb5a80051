"""Which process fills a folder, told apart from any other that is given its number later."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


def identity() -> dict[str, Any]:
    """This process: its number and host, and where the system tells them, the boot and the tick it was born at.

    None of these moves when somebody sets the clock.
    """
    return {"pid": os.getpid(), "host": socket.gethostname(), "boot": _boot(), "born": _born(os.getpid())}


def is_here(who: Mapping[str, Any]) -> bool:
    """Whether an identity belongs to this host."""
    return who.get("host") == socket.gethostname()


def lives(who: Mapping[str, Any]) -> bool:
    """Whether the process of this identity runs on this host still."""
    pid = who.get("pid")
    if not isinstance(pid, int) or pid <= 0 or not is_here(who):
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    known = [("boot", _boot()), ("born", _born(pid))]
    return all(who.get(key) in (None, now) or now is None for key, now in known)


def _boot() -> str | None:
    """What the kernel calls the present boot."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None


def _born(pid: int) -> int | None:
    """Ticks between the boot and the birth of a process. A number is given again, but never at the same tick."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return None
