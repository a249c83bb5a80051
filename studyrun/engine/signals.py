"""Ctrl-C, SIGTERM, or SIGUSR1, Slurm's warning: finish the step. Ctrl-C or SIGTERM a second time: stop now."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

WARNING, AT_ONCE = signal.SIGUSR1, signal.SIGUSR2
"""A warning asks to stop and counts for nothing: it may reach a process on two ways, and what came after it first."""
STOPPING = (signal.SIGINT, signal.SIGTERM, WARNING, AT_ONCE)


class StopRequest:
    """Whether somebody has asked the run to stop. `announce` is called the first time."""

    def __init__(self, announce: Callable[[], None] | None = None) -> None:
        self.requested = False
        self._announce = announce
        self._count = 0
        self._held = 0
        self._at_once = False

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Take a signal, as its handler. Raises `KeyboardInterrupt` the second time, after what `held` holds."""
        self._count += number != WARNING
        if not self.requested:
            self.requested = True
            if self._announce is not None:
                with suppress(RuntimeError):  # a print that the signal came into the middle of refuses another
                    self._announce()
        if self._count < 2 and number != AT_ONCE:
            return
        if self._held:
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
