"""Following a run from outside, by the files that it writes as it goes."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from studyrun.engine.events import Progress
from studyrun.launch.state import read_status


class Follower:
    """Tells a progress what happens in a run folder that another process fills, from now on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._events = folder / "events.jsonl"
        self._place = self._events.stat().st_size if self._events.exists() else 0

    def poll(self, progress: Progress) -> None:
        """Pass on the messages written since the last call, and how far the run is."""
        for line in self._new_lines():
            with suppress(ValueError, AttributeError, RecursionError):
                event = json.loads(line)
                if event.get("message"):
                    progress.say(str(event["message"]), str(event.get("level", "info")))
        status = read_status(self._folder)
        if status.get("state") == "running" and "arm" in status:
            progress.update(status["arm"], status.get("step", 0), float(status.get("fraction", 0.0)), "")

    def _new_lines(self) -> list[bytes]:
        """Whole lines only: the last one may still be in the writing."""
        try:
            with self._events.open("rb") as file:
                file.seek(self._place)
                text = file.read()
        except OSError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self._place += len(whole)
        return whole.splitlines()
