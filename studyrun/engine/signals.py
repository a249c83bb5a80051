"""Ctrl-C, SIGTERM, or SIGUSR1, Slurm's warning: finish the step. Ctrl-C or SIGTERM a second time: stop now."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from time import monotonic, sleep
from types import FrameType
from typing import Any

from studyrun.stopping import heeding, interrupt, taken

WARNING, AT_ONCE = signal.SIGUSR1, signal.SIGUSR2
"""A warning asks to stop and counts for nothing: it may reach a process on two ways, and what came after it first."""
STOPPING = (signal.SIGINT, signal.SIGTERM, WARNING, AT_ONCE)
AGAIN = 0.01
"""Seconds until a request to stop at once that got lost is made again."""
ONE_END = 2.0
"""Seconds in which whoever stops at once is not interrupted again, in the middle of putting things in order."""


class StopRequest:
    """Whether somebody has asked the run to stop. `announce` is called the first time."""

    _interrupted = float("-inf")  # of all requests in this process: the command's, the run's inside it

    def __init__(self, announce: Callable[[], None] | None = None) -> None:
        self.requested = False
        self.announce = announce
        self.leave: Callable[[], None] | None = None
        self._count = 0
        self._held = 0
        self._at_once = self._over = False

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Take a signal, as its handler. Raises `KeyboardInterrupt` the second time, after what `held` holds."""
        if self._over:
            return
        self._count += number != WARNING
        if not self.requested:
            self.requested = True
            if self.announce is not None:
                with suppress(RuntimeError):  # a print that the signal came into the middle of refuses another
                    self.announce()
        if self._count < 2 and number != AT_ONCE:
            return
        if self._held:
            self._at_once = True
        else:
            self._interrupt()

    def _interrupt(self) -> None:
        now = monotonic()
        if now - StopRequest._interrupted > ONE_END:
            StopRequest._interrupted = now
            interrupt()

    def before(self, number: int, frame: FrameType | None) -> None:
        """Take a signal, as its handler, where nothing has begun: `leave`. Raises `KeyboardInterrupt`."""
        if self._over:
            return
        if self.leave is not None:
            self.leave()
        self._interrupt()

    def _again(self) -> None:
        """Make the request again that came into the middle of what cannot raise, as callbacks of weak references."""
        StopRequest._interrupted = float("-inf")
        _thread.start_new_thread(_interrupt_soon, ())

    def _hear(self, lost: Any, otherwise: Callable[[Any], object]) -> None:
        """Look at what Python could not raise, as its hook."""
        if lost.exc_type is not KeyboardInterrupt:
            otherwise(lost)
            return
        try:
            self._again()
        except KeyboardInterrupt:  # this process was not let run for as long as it takes
            self._again()

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
            self._interrupt()

    @contextmanager
    def last(self) -> Iterator[None]:
        """A request to stop at once ends the block, the last that there is to stop: what comes after it is late."""
        try:
            with heeding():
                yield
            self._over = True
        except KeyboardInterrupt:
            self._over = True
        except BaseException:
            self._over = True
            raise
        finally:
            taken()

    @contextmanager
    def listening(self, begun: bool = True) -> Iterator[StopRequest]:
        """Catch the signals inside the block; outside the main thread, where Python cannot, leave them be.

        Where nothing has `begun` to be stopped, each of them ends what is there at once.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        outermost = not any(isinstance(getattr(signal.getsignal(n), "__self__", None), StopRequest) for n in STOPPING)
        put_back = self.listen(begun)
        try:
            yield self
        finally:
            put_back()
            if outermost:
                taken()  # by whoever asked this process to carry out the block

    def listen(self, begun: bool = True) -> Callable[[], None]:
        """Catch the signals from now on, in the main thread; return what has them caught as before."""
        answer = self.receive if begun else self.before
        before, hook = {number: signal.signal(number, answer) for number in STOPPING}, sys.unraisablehook
        sys.unraisablehook = partial(self._hear, otherwise=hook)

        def put_back() -> None:
            sys.unraisablehook = hook
            for number, handler in before.items():
                signal.signal(number, handler)

        return put_back


def _interrupt_soon() -> None:
    sleep(AGAIN)
    _thread.interrupt_main(AT_ONCE)  # no signal, so that none comes too late
