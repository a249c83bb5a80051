"""One process at a time fills a folder.

The one that does holds `run.lock`: locked as the operating system locks files, so that a process that is killed lets go
of it whatever happens, and with its number and host inside. Where folders are shared between machines that lock may
reach no further than its own, so the holder also touches the file every few seconds: a lock of another host that is
left alone for `PATIENCE` seconds is stale. No clock is read for that.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any

from studyrun.engine.events import Progress, Silent
from studyrun.errors import RunFolderError
from studyrun.trace.process import identity, is_here, lives

LOCK = "run.lock"
BEAT = 5.0
PATIENCE = 60.0  # longer than a network file system keeps what it knows of a file
HANDOVER = 5.0  # a process that was just told to stop may be about to let go
_PAUSE = 0.1
_LONGEST = 4096


@contextmanager
def holding(folder: Path, progress: Progress | None = None) -> Iterator[None]:
    """Hold the folder inside the block. Raises `RunFolderError` if another process fills it, naming it."""
    path = folder / LOCK
    descriptor = _taken(path, progress or Silent())
    done = Event()
    beating = Thread(target=_beat, args=(descriptor, done), daemon=True)
    beating.start()
    try:
        yield
    finally:
        done.set()
        beating.join()
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


def holder_of(folder: Path) -> dict[str, Any]:
    """Who has written itself into the folder's lock, nothing where nobody has."""
    with suppress(OSError, ValueError):
        content = json.loads((folder / LOCK).read_bytes()[:_LONGEST])
        if isinstance(content, dict):
            return content
    return {}


def _taken(path: Path, progress: Progress) -> int:
    until = monotonic() + HANDOVER
    while True:
        descriptor = _opened(path)
        try:
            if _locked(path, descriptor) and _is(path, descriptor):
                _await_other_host(path, progress)
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps(identity()).encode(), 0)
                return descriptor
        except OSError as error:
            os.close(descriptor)
            raise RunFolderError(f"cannot write {path}: {error.strerror or error}") from error
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if monotonic() > until:
            raise RunFolderError(_busy(path))
        sleep(_PAUSE)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise RunFolderError(f"cannot write {path}: {error.strerror or error}") from error


def _locked(path: Path, descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: what stands in the file has to do
        return not lives(holder_of(path.parent))
    return True


def _is(path: Path, descriptor: int) -> bool:
    """Whether the path still names the open file: whoever held it last removed it."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _await_other_host(path: Path, progress: Progress) -> None:
    """Where another host wrote itself into the lock, watch whether it still touches it. Raises `RunFolderError`."""
    holder = holder_of(path.parent)
    if not holder or is_here(holder):
        return
    who = f"process {holder.get('pid')} on {holder.get('host')}"
    progress.say(f"{path} is held by {who}; looking for {PATIENCE:.0f} s whether it is still there")
    before, until = path.stat().st_mtime_ns, monotonic() + PATIENCE
    while monotonic() < until:
        sleep(min(_PAUSE, PATIENCE))
        if path.stat().st_mtime_ns != before:
            raise RunFolderError(_busy(path))
    progress.say(f"{who} has not touched {path} for {PATIENCE:.0f} s: it is gone; its lock is taken over", "warning")


def _busy(path: Path) -> str:
    holder = holder_of(path.parent)
    if not holder:
        return f"{path.parent} is being filled by another process; wait for it, or stop it first"
    pid, place = holder.get("pid"), "this host" if is_here(holder) else holder.get("host")
    return f"{path.parent} is being filled by process {pid} on {place}; wait for it, or stop it first (kill {pid})"


def _beat(descriptor: int, done: Event) -> None:
    while not done.wait(BEAT):
        with suppress(OSError):
            os.utime(descriptor)
