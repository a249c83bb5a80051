"""What the run says while it goes: events.jsonl for programs, status.json for the moment, progress for people."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from time import monotonic, time
from typing import Any, Protocol

from studyrun.errors import RunFolderError
from studyrun.trace.atomic import write_atomically
from studyrun.trace.folder import read_json
from studyrun.trace.process import identity


class Progress(Protocol):
    """Where a run reports to people."""

    def update(self, arm: str, step: int, fraction: float, note: str) -> None:
        """An arm stands at `step`, `fraction` of its way to its end."""

    def say(self, text: str, level: str = "info") -> None:
        """Something happened that is worth a line."""


class Silent:
    """Progress for nobody."""

    def update(self, arm: str, step: int, fraction: float, note: str) -> None:
        """Say nothing."""

    def say(self, text: str, level: str = "info") -> None:
        """Say nothing."""


class Journal:
    """The run folder's events.jsonl and status.json."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self.folder, self.progress = folder, progress
        self._events = folder / "events.jsonl"
        self._began, self._before = monotonic(), _seconds_before(folder)
        self.status: dict[str, Any] = {**identity(), "started": time()}
        self._end_torn_line()

    def event(self, event: str, message: str = "", level: str = "info", **fields: Any) -> None:
        """Append one line to events.jsonl, and tell people where there is a message. Raises `RunFolderError`."""
        if message:
            self.progress.say(message, level)
        line = {"time": time(), "level": level, "event": event, **({"message": message} if message else {}), **fields}
        self._append(json.dumps(line) + "\n")

    def warn(self, message: str) -> None:
        """A warning: in the events, on the screen, and so in the report."""
        self.event("warning", message, "warning")

    def set_status(self, **fields: Any) -> None:
        """Replace status.json, atomically. Its seconds are those of every process that filled the folder, together."""
        self.status |= fields
        self.status["seconds"] = round(self._before + monotonic() - self._began, 3)
        write_atomically(self.folder / "status.json", json.dumps(self.status, indent=2) + "\n")

    def _append(self, text: str) -> None:
        try:
            with self._events.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise RunFolderError(f"cannot write {self._events}: {error.strerror or error}") from error

    def _end_torn_line(self) -> None:
        """What a process did not come to write to its end stays a line of its own, which readers pass over."""
        with suppress(OSError), self._events.open("rb") as file:
            if file.seek(0, os.SEEK_END) and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                self._append("\n")


def _seconds_before(folder: Path) -> float:
    """How long earlier processes have run, as status.json says where it can be read."""
    with suppress(RunFolderError, TypeError, ValueError, OverflowError):
        seconds = float(read_json(folder / "status.json").get("seconds", 0.0))
        return seconds if 0 <= seconds < float("inf") else 0.0
    return 0.0
