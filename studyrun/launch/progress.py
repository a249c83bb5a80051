"""How far a run is, on stderr: bars when a person is looking, plain lines when not."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from studyrun.engine.events import Progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

SECONDS_BETWEEN_LINES = 10.0
SHORTEST_PAUSE = 1.0  # so that a run of seconds does not write a line for each tenth of it
REFRESH = 0.1
COLORS = {"warning": "yellow", "error": "red"}


class Display(Progress, Protocol):
    """A progress that is opened, and closed before anything else is printed."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def display(most: int = 1) -> Display:
    """Bars, `most` at a time, on a terminal that can draw them; lines anywhere else."""
    return Bars(most) if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else Lines()


@dataclass(slots=True)
class _Pace:
    """How fast one arm advances, from where it was first seen."""

    began: float
    first: float
    last_line: float
    shown: float

    def seconds_left(self, now: float, fraction: float) -> float | None:
        """The time to its end at the pace so far, once there is one to speak of."""
        gone = fraction - self.first
        return (now - self.began) / gone * (1 - fraction) if gone > 0.005 else None


class Lines:
    """One line at each tenth of an arm or every ten seconds, whichever comes first. Never a control character.

    Most calls of `update` end at their first comparison, since there is one for every step.
    """

    def __init__(self) -> None:
        self._paces: dict[str, _Pace] = {}
        self._quiet_until: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, arm: str, step: int, fraction: float, note: str) -> None:
        """Write a line if one is due."""
        now = monotonic()
        if now < self._quiet_until.get(arm, 0.0):
            return
        self._quiet_until[arm] = now + REFRESH
        pace = self._paces.setdefault(arm, _Pace(now, fraction, now, fraction))
        waited = now - pace.last_line
        if waited >= SECONDS_BETWEEN_LINES or (waited >= SHORTEST_PAUSE and int(10 * fraction) > int(10 * pace.shown)):
            _write(_line(arm, step, fraction, note, pace.seconds_left(now, fraction)))
            pace.last_line, pace.shown = now, fraction

    def say(self, text: str, level: str = "info") -> None:
        """Write a line now."""
        _write(text if level == "info" else f"{level}: {text}")


class Bars:
    """A bar for each arm that moves, the last `most` of them, below the lines of what happened."""

    def __init__(self, most: int = 1) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        screen: Any = _Screen()
        self._console: Console = Console(file=screen, highlight=False)
        note = TextColumn("{task.fields[note]}", markup=False)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), note)
        self._bars = Progress(*columns, TimeRemainingColumn(), console=self._console, transient=True)
        self._tasks: dict[str, TaskID] = {}
        self._most = most
        self._quiet_until: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def update(self, arm: str, step: int, fraction: float, note: str) -> None:
        """Move the arm's bar, ten times a second at most."""
        now = monotonic()
        if now < self._quiet_until.get(arm, 0.0):
            return
        self._quiet_until[arm] = now + REFRESH
        if arm not in self._tasks:
            self._add(arm)
        self._bars.update(self._tasks[arm], completed=fraction, note=f"step {step}, {note}" if note else f"step {step}")

    def _add(self, arm: str) -> None:
        while len(self._tasks) >= self._most:
            self._bars.remove_task(self._tasks.pop(next(iter(self._tasks))))
        self._tasks[arm] = self._bars.add_task(arm, total=1.0, note="")

    def say(self, text: str, level: str = "info") -> None:
        """Write a line above the bars."""
        from rich.text import Text

        style = COLORS.get(level, "")
        self._console.print(Text(text if level == "info" else f"{level}: {text}", style=style), soft_wrap=True)


class Member:
    """A member's progress within its sweep's: its name before every line and on its bar."""

    def __init__(self, name: str, inner: Progress) -> None:
        self.name, self.inner = name, inner

    def update(self, arm: str, step: int, fraction: float, note: str) -> None:
        """Pass on, under the member's name."""
        self.inner.update(f"{self.name}/{arm}", step, fraction, note)

    def say(self, text: str, level: str = "info") -> None:
        """Pass on, under the member's name."""
        self.inner.say(f"{self.name}: {text}", level)


class _Screen:
    """stderr, written to as long as anybody is there: a terminal that goes, or a reader, must not end a run.

    Bars are drawn by a thread of their own besides, and that must not fail either.
    """

    def __init__(self) -> None:
        self._stream = sys.stderr

    def write(self, text: str) -> int:
        """Write, if anybody is there."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, if anybody is there."""
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _write(text: str) -> None:
    """Put a line on stderr."""
    screen = _Screen()
    screen.write(f"{text}\n")
    screen.flush()


def _line(arm: str, step: int, fraction: float, note: str, left: float | None) -> str:
    parts = [f"{arm}: step {step}", f"{100 * fraction:.0f} %" if fraction else "", note, remaining(left)]
    return ", ".join(part for part in parts if part)


def remaining(seconds: float | None) -> str:
    """A time to go, as people say it."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min left" if hours else f"{minutes} min {rest} s left" if minutes else f"{rest} s left"
