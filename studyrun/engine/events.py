"""What the run says while it goes: events.jsonl for programs, status.json for the moment, progress for people."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from time import time
from typing import Any, Protocol

from studyrun.errors import RunFolderError


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
        self.status: dict[str, Any] = {"pid": os.getpid(), "host": socket.gethostname(), "started": time()}

    def event(self, event: str, message: str = "", level: str = "info", **fields: Any) -> None:
        """Append one line to events.jsonl, and tell people where there is a message."""
        line = {"time": time(), "level": level, "event": event, **({"message": message} if message else {}), **fields}
        with (self.folder / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if message:
            self.progress.say(message, level)

    def warn(self, message: str) -> None:
        """A warning: in the events, on the screen, and so in the report."""
        self.event("warning", message, "warning")

    def set_status(self, **fields: Any) -> None:
        """Replace status.json, atomically."""
        self.status |= fields
        self.status["seconds"] = round(time() - self.status["started"], 3)
        write_atomically(self.folder / "status.json", json.dumps(self.status, indent=2) + "\n")


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that it is there whole or not at all. Raises `RunFolderError`."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunFolderError(f"cannot write {path}: {error.strerror or error}") from error
