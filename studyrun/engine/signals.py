"""Ctrl-C, SIGTERM, or SIGUSR1, Slurm's warning, once: finish the step. Ctrl-C or SIGTERM again: stop now."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
WARNING = signal.SIGUSR1
"""Asks to stop however often it comes: a warning that reaches a process on two ways is not a second request."""


class StopRequest:
    """Whether somebody has asked the run to stop. `announce` is called the first time."""

    def __init__(self, announce: Callable[[], None] | None = None) -> None:
        self.requested = False
        self._announce = announce
        self._held = 0
        self._at_once = False

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Take a signal, as its handler. Raises `KeyboardInterrupt` the second time, after what `held` holds."""
        if not self.requested:
            self.requested = True
            if self._announce is not None:
                with suppress(RuntimeError):  # a print that the signal came into the middle of refuses another
                    self._announce()
        elif number == WARNING:
            return
        elif self._held:
            self._at_once = True
        else:
            raise KeyboardInterrupt

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let a second request wait until the block has ended: writing is not left half-way."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        if self._at_once and not self._held:
            self._at_once = False
            raise KeyboardInterrupt

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
