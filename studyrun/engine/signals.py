"""Ctrl-C or SIGTERM once: finish the step. Twice: stop now."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether somebody has asked the run to stop. `announce` is called the first time."""

    def __init__(self, announce: Callable[[], None] | None = None) -> None:
        self.requested = False
        self._announce = announce

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Take a signal, as its handler."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        if self._announce is not None:
            with suppress(RuntimeError):  # a print that the signal came into the middle of refuses another
                self._announce()

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Catch the signals inside the block; outside the main thread, where Python cannot, leave them be."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self.receive) for number in STOPPING}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
