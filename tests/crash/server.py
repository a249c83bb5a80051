"""A process with everything imported, which forks a child for each command and kills it as it is told.

One JSON object a line on stdin: `arguments` of the command line, and what the child is to meet with, if anything:
`signals`, each a number and the seconds to wait before it is sent, as `+0.5` from when the run begins, or the file to
wait for; `operation`, the operation on the file system that it dies at, a write being left half done; `largest`, the
size in bytes that the system lets a file have; `clock`, by how much time jumps whenever it is asked for; `status`, the
seconds between writes of how a run stands. One JSON object a line on stdout: the exit `code` (-9 if killed), the
`phase` it was in, the number of `operations` it came to, and the `seconds` it took.
"""

from __future__ import annotations

import builtins
import itertools
import json
import mmap
import os
import resource
import signal
import struct
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import h5py  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import torch

from studyrun.cli import main as main_command
from studyrun.commands import report
from studyrun.engine import arm, arms, events
from studyrun.engine.checkpoint_folder import CheckpointFolder
from studyrun.engine.leaving import Leavings
from studyrun.trace.writer import TraceWriter

PHASES = (
    "starting",
    "ending",
    "training",
    "probing",
    "writing status and events",
    "writing the trace",
    "checkpointing",
    "forking",
    "reporting",
)
_RECORD = struct.Struct("<Qq")  # the phase, and the operations so far


class Board:
    """What a child tells while it lives, in memory that outlives it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _RECORD.size)

    def read(self) -> tuple[str, int]:
        phase, operations = _RECORD.unpack(self._memory[:])
        return PHASES[phase], operations

    def phase(self, number: int) -> None:
        self._memory[:8] = struct.pack("<Q", number)

    def operations(self, count: int) -> None:
        self._memory[8:] = struct.pack("<q", count)


PLACES: tuple[tuple[str, Any, tuple[str, ...]], ...] = (
    ("training", arm.Arm, ("step",)),
    ("probing", arm, ("measure",)),
    ("writing status and events", events.Journal, ("event", "set_status")),
    ("writing the trace", TraceWriter, ("flush", "truncate", "add_arm", "add_probe", "close", "_commit")),
    ("checkpointing", CheckpointFolder, ("save", "keep", "save_fork", "save_end")),
    ("checkpointing", arms.RunInProgress, ("_save",)),
    ("checkpointing", Leavings, ("_write",)),
    ("forking", arms.RunInProgress, ("_fork",)),
    ("reporting", report, ("build_report",)),
    ("ending", arms.RunInProgress, ("_finish",)),
)
"""What a child is at while it is inside one of these; of several, what stands last in `PHASES` of them."""


class Phases:
    """Keeps the board's phase up to date from inside.

    Not by looking at the stack from another thread, which Python 3.11 does not always survive: there `frame.f_back`
    reads frames that are being left meanwhile (cpython issue 111363).
    """

    def __init__(self, board: Board) -> None:
        self._board, self._inside = board, [0]

    def install(self) -> None:
        for phase, owner, names in PLACES:
            for name in names:
                setattr(owner, name, self._marked(getattr(owner, name), PHASES.index(phase)))

    def _marked(self, function: Callable[..., Any], phase: int) -> Callable[..., Any]:
        @wraps(function)
        def marked(*arguments: Any, **named: Any) -> Any:
            self._inside.append(phase)
            self._board.phase(max(self._inside))
            try:
                return function(*arguments, **named)
            finally:
                self._inside.pop()
                self._board.phase(max(self._inside))

        return marked


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


class Operations:
    """Counts what the child does to the file system, and dies at one of them."""

    def __init__(self, board: Board, last: int | None) -> None:
        self._board, self._last, self.count = board, last, 0

    def install(self) -> None:
        for name in ("replace", "rename", "link", "unlink", "remove", "mkdir", "rmdir", "fsync", "ftruncate", "utime"):
            setattr(os, name, self._counted(getattr(os, name)))
        pwrite = os.pwrite
        os.pwrite = lambda descriptor, data, at: self._torn(  # type: ignore[assignment,misc]
            data, lambda part: pwrite(descriptor, part, at)
        )
        opened = builtins.open
        for module in (builtins, __import__("io")):
            module.open = lambda *a, **k: self._watched(opened(*a, **k))  # type: ignore[attr-defined]

    def _next(self) -> bool:
        self.count += 1
        self._board.operations(self.count)
        return self.count == self._last

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any, **named: Any) -> Any:
            if self._next():
                die()
            return function(*arguments, **named)

        return counting

    def _torn(self, data: Any, write: Callable[[Any], Any]) -> Any:
        if self._next():
            write(data[: len(data) // 2])
            die()
        return write(data)

    def _watched(self, file: Any) -> Any:
        """Have the file's writes counted, and go to the disk as they are made."""
        if not file.writable() or not isinstance(file.name, str | Path):
            return file
        write = file.write

        def writing(data: Any) -> Any:
            def through(part: Any) -> Any:
                done = write(part)
                file.flush()
                return done

            return self._torn(data, through)

        try:
            file.write = writing
        except AttributeError:
            return _Wrapped(file, writing)
        return file


class _Wrapped:
    """A file whose own `write` cannot be replaced."""

    def __init__(self, file: Any, write: Callable[[Any], Any]) -> None:
        self._file, self.write = file, write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Wrapped:
        self._file.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self._file.__exit__(*error)

    def __iter__(self) -> Any:
        return iter(self._file)


def child(request: dict[str, Any], board: Board) -> None:
    """Carry out the command, and end."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the command has its own say
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)
    arms.SECONDS_BETWEEN_STATUS = request["status"]
    Phases(board).install()
    Operations(board, request["operation"]).install()
    if request["largest"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest"], request["largest"]))
    if request["clock"]:
        jumps = itertools.cycle([0.0, request["clock"], -request["clock"]])
        events.time = lambda: time.time() + next(jumps)  # type: ignore[assignment]
    sys.argv = ["studyrun", *request["arguments"]]
    try:
        main_command()
    except SystemExit as error:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(error.code or 0))


def serve(request: dict[str, Any]) -> dict[str, Any]:
    """Fork a child, kill it at its time, and say how it ended."""
    board, began = Board(), time.monotonic()
    pid = os.fork()
    if pid == 0:
        try:
            child(request, board)
        finally:
            os._exit(70)
    for number, after in request["signals"]:
        sent = None if isinstance(after, str) and after.startswith("+") else time.monotonic()
        while _waits(after, sent):
            if sent is None and board.read()[0] != "starting":
                sent = time.monotonic()
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return answer(status, board, began)
            time.sleep(0.0005)
        os.kill(pid, number)
    return answer(os.waitpid(pid, 0)[1], board, began)


def _waits(after: float | str, since: float | None) -> bool:
    """Whether it is too early yet: by seconds from now, `+` seconds from when the run begins, or a file to come."""
    if isinstance(after, str) and not after.startswith("+"):
        return not Path(after).exists()
    return since is None or time.monotonic() < since + float(after)


def answer(status: int, board: Board, began: float) -> dict[str, Any]:
    phase, operations = board.read()
    seconds = time.monotonic() - began
    return {
        "code": os.waitstatus_to_exitcode(status), "phase": phase, "operations": operations, "seconds": seconds
    }  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(serve(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
