"""Requests to stop: what they interrupt, and when they are late."""

from __future__ import annotations

import os
import signal
import weakref
from time import monotonic, sleep

import pytest
from oracles.effort import PATIENCE

from studyrun.engine.signals import StopRequest


def press(times: int, number: int = signal.SIGINT) -> None:
    for _ in range(times):
        os.kill(os.getpid(), number)


def test_a_request_that_nothing_could_raise_is_made_again(capfd: pytest.CaptureFixture[str]) -> None:
    """Python swallows what is raised in the callback of a weak reference, and only says so on stderr."""

    class Thing:
        pass

    things = [Thing()]
    reference = weakref.ref(things[0], lambda _: press(2))

    def wait(until: float) -> None:
        things.clear()
        assert reference() is None
        while monotonic() < until:
            sleep(0.001)

    with StopRequest().listening(), pytest.raises(KeyboardInterrupt):
        wait(monotonic() + PATIENCE)
    assert capfd.readouterr().err == ""


def test_what_is_asked_while_somebody_puts_things_in_order_waits_and_what_is_asked_after_is_late() -> None:
    stop = StopRequest()
    with stop.listening():
        with stop.last():
            press(1)
            assert stop.requested
            with pytest.raises(KeyboardInterrupt):
                press(1)
            press(3)  # in the middle of the way out
        press(3)


def test_a_request_waits_for_what_is_held() -> None:
    stop, reached = StopRequest(), list[str]()

    def write() -> None:
        with stop.held():
            press(2)
            reached.append("the end")
        reached.append("nothing")

    with stop.listening(), pytest.raises(KeyboardInterrupt):
        write()
    assert reached == ["the end"]


def test_where_nothing_has_begun_one_request_is_enough() -> None:
    left = []
    stop = StopRequest()
    stop.leave = lambda: left.append("message")
    for number in (signal.SIGUSR1, signal.SIGTERM):
        StopRequest._interrupted = float("-inf")
        with stop.listening(begun=False), pytest.raises(KeyboardInterrupt):
            press(1, number)
    assert left == ["message", "message"]
    assert not stop.requested
