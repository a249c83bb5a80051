"""Progress on stderr: rare lines where nobody looks, bars where somebody does, and next to no cost."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import threading
import time
import timeit

import pytest

from studyrun.launch import progress
from studyrun.launch.progress import Bars, Lines, Member, display, remaining


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    return now


def run_for(shown: Lines, clock: list[float], seconds: float, steps: int, arm: str = "baseline") -> None:
    for step in range(steps + 1):
        shown.update(arm, step, step / steps, "loss 0.5")
        clock[0] += seconds / steps


def test_a_short_run_writes_a_line_for_each_tenth(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    run_for(Lines(), clock, seconds=50, steps=1000)
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"baseline: step 10[0-3], 10 %, loss 0.5, 45 s left", lines[0])
    assert 9 <= len(lines) <= 10


def test_a_long_run_writes_a_line_each_ten_seconds(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    run_for(Lines(), clock, seconds=1000, steps=20_000)
    assert 98 <= len(capsys.readouterr().err.splitlines()) <= 112


def test_a_run_of_a_second_writes_hardly_any(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    run_for(Lines(), clock, seconds=1.5, steps=500)
    assert len(capsys.readouterr().err.splitlines()) <= 1


def test_arms_that_run_side_by_side_do_not_silence_each_other(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = Lines()
    for second in range(60):
        for name in ("seed=0", "seed=1"):
            Member(name, shown).update("baseline", second, second / 600, "")
        clock[0] += 1
    lines = capsys.readouterr().err.splitlines()
    assert {line.split(":")[0] for line in lines} == {"seed=0/baseline", "seed=1/baseline"}
    assert len(lines) == 10


def test_an_end_that_only_a_trigger_knows_shows_steps_alone(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = Lines()
    for step in range(200):
        shown.update("baseline", step, 0.0, "loss 0.5")
        clock[0] += 0.2
    assert capsys.readouterr().err.splitlines()[0] == "baseline: step 50, loss 0.5"


def test_nothing_goes_to_stdout_and_no_line_holds_a_control_character(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = Lines()
    run_for(shown, clock, seconds=50, steps=100)
    shown.say("a fork")
    shown.say("it diverged", "warning")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("a fork\nwarning: it diverged\n")
    assert all(character.isprintable() or character == "\n" for character in err)


@pytest.mark.parametrize("kind", [Lines, Bars])
def test_a_step_costs_microseconds(kind: type[Lines] | type[Bars]) -> None:
    shown = kind()
    best = min(timeit.repeat(lambda: shown.update("baseline", 5, 0.1, "loss 0.5"), number=2000, repeat=5)) / 2000
    assert best < 5e-6


def test_a_reader_that_has_gone_does_not_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    Lines().say("nobody hears this")


@pytest.mark.parametrize("kind", [Lines, Bars])
def test_a_terminal_that_is_lost_does_not_end_the_run(
    monkeypatch: pytest.MonkeyPatch, kind: type[Lines] | type[Bars]
) -> None:
    leader, follower = os.openpty()
    monkeypatch.setenv("TERM", "xterm")
    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda of: raised.append(of.exc_value))
    with open(follower, "w", closefd=False) as screen:
        monkeypatch.setattr(sys, "stderr", screen)
        shown = kind()
        with shown:
            shown.update("baseline", 40, 0.5, "loss 0.25")
            os.close(leader)
            with pytest.raises(OSError, match="Input/output error"):
                os.write(follower, b"nobody is there")
            shown.say("nobody hears this")
            shown.update("exit", 40, 0.5, "loss 0.25")
            time.sleep(0.3 if kind is Bars else 0.0)  # rich draws ten times a second, in a thread of its own
        with contextlib.suppress(OSError):
            screen.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), follower)
    os.close(follower)
    assert raised == []


@pytest.mark.parametrize(
    ("terminal", "kind", "term"), [(True, Bars, "xterm"), (True, Lines, "dumb"), (False, Lines, "xterm")]
)
def test_bars_are_for_terminals_that_can_draw_them(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, kind: type, term: str
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys, "stderr", Terminal() if terminal else io.StringIO())
    assert type(display()) is kind


@pytest.mark.parametrize("no_color", [False, True])
def test_bars_show_arm_and_loss_in_color_unless_told_not_to(monkeypatch: pytest.MonkeyPatch, no_color: bool) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1") if no_color else monkeypatch.delenv("NO_COLOR", raising=False)
    with Bars() as bars:
        bars.update("baseline", 40, 0.5, "loss 0.25")
        bars.say("it diverged [really]", "warning")
    text = screen.getvalue()
    assert "baseline" in text
    assert "step 40, loss 0.25" in text
    assert "50%" in text
    assert "warning: it diverged [really]" in text
    assert ("\x1b[33m" in text) is not no_color


@pytest.mark.parametrize(
    ("seconds", "words"), [(None, ""), (0.4, "0 s left"), (75, "1 min 15 s left"), (7260, "2 h 1 min left")]
)
def test_a_time_to_go_is_said_as_people_do(seconds: float | None, words: str) -> None:
    assert remaining(seconds) == words
