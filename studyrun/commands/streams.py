"""stdout and stderr, wherever they lead: closed, a reader or a terminal that has gone, an encoding short of letters."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from contextlib import suppress
from typing import Any, TextIO

_STREAMS = ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w"))


def open_streams() -> None:
    """Make every standard stream fit to be written to.

    One that is closed leads nowhere: left closed, its number would be given to the next file that a run opens, and what
    libraries print would go into that. What an encoding lacks is written as an escape.
    """
    for number, name, mode in _STREAMS:
        if getattr(sys, name) is None:
            setattr(sys, name, _nowhere(number, mode))
        elif mode == "w" and isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def end_streams(code: int) -> int:
    """Write out what is still held back, and return the exit code: 1 in place of 0 where stdout could not be written.

    A reader that has gone, as `head` goes, is no such fault: it has what it wanted.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            drain(stream)
            if stream is sys.stdout and not nobody_reads(stream, error):
                code = code or 1
                with suppress(OSError):
                    sys.stderr.write(f"error: stdout: {error.strerror or error}\n")
    return code


def nobody_reads(stream: TextIO, error: OSError) -> bool:
    """Whether that is why it cannot be written to: the reader of a pipe has gone, or the terminal."""
    if error.errno == errno.EPIPE or isinstance(error, BrokenPipeError):
        return True
    return error.errno == errno.EIO and stat.S_ISCHR(os.fstat(stream.fileno()).st_mode)


def drain(stream: TextIO) -> None:
    """Lead a stream nowhere from now on: what it holds still must not be tried again when Python ends."""
    with suppress(OSError, ValueError):
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)
        stream.flush()


def _nowhere(number: int, mode: str) -> Any:
    try:
        os.fstat(number)
    except OSError:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor != number:
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.set_inheritable(number, True)
        return open(number, mode, encoding="utf-8", closefd=False)
    return open(os.devnull, mode, encoding="utf-8")  # something has taken its number before us
