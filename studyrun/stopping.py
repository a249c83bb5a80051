"""No request to stop gets lost on its way up.

A signal becomes a `KeyboardInterrupt` wherever it arrives, and what it arrives in may turn that into an error of its
own (matplotlib's text does) or drop it (a bare `except:`, a comparison inside a dict). So it also *stands*, until
whoever it is for has `taken` it. Every handler of `Exception` in this project begins with `heed()`, and every step,
figure and claim ends with it: there it is raised again. `tests/test_stopping.py` holds every handler to that.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

_standing = False


def interrupt() -> NoReturn:
    """Raise `KeyboardInterrupt`, as the handler of a signal, and let it stand."""
    global _standing
    _standing = True
    raise KeyboardInterrupt


def heed() -> None:
    """Raise `KeyboardInterrupt` again where one stands: what is at hand is what became of it, or comes after it."""
    if _standing and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


def taken() -> None:
    """Whoever a request was for has it: it stands no longer."""
    global _standing
    _standing = False


@contextmanager
def heeding() -> Iterator[None]:
    """Heed what stands when the block has ended, however it ended."""
    try:
        yield
    finally:
        heed()


@contextmanager
def python_heard() -> Iterator[None]:
    """Let a Ctrl-C stand inside the block that is Python's own affair: in a notebook, where no command listens."""
    listens = threading.current_thread() is threading.main_thread()
    if not listens or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, lambda number, frame: interrupt())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        taken()
