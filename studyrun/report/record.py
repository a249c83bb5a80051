"""What a run folder says of itself beside the trace: its state, and the warnings it gave."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studyrun.trace.reader import Run

UNFINISHED = {
    "running": "This run is still going on",
    "interrupted": "This run was interrupted",
    "failed": "This run failed",
}
MOST_WARNINGS = 50
LONGEST_LINE = 2**20


def state_of(run: Run) -> str:
    """The state in status.json, or else the trunk's."""
    trunk = next(iter(run.arms.values()), None)
    return str(run.status.get("state") or (trunk.state if trunk else "") or "unknown")


def note_on(run: Run) -> str:
    """A sentence where the run is not at its end, so that nobody reads half a run as a whole one."""
    state = state_of(run)
    if state not in UNFINISHED:
        return ""
    step = run.status.get("step")
    stands = f", at step {step:,}" if isinstance(step, int) else ""
    resume = "" if state == "running" else f" `studyrun resume {run.path.name}` goes on from its last checkpoint."
    why = f" {run.status['error']}" if run.status.get("error") else ""
    return f"{UNFINISHED[state]}{stands}: this page shows what it had recorded by then.{why}{resume}"


def warnings_of(run: Run) -> Sequence[str]:
    """The warnings in events.jsonl, each once, with how often it was given."""
    counts = Counter(_messages(run.path / "events.jsonl"))
    lines = [text if n == 1 else f"{text} ({n} times)" for text, n in counts.items()]
    more = [f"and {len(lines) - MOST_WARNINGS} more, in events.jsonl"] if len(lines) > MOST_WARNINGS else []
    return lines[:MOST_WARNINGS] + more


def _messages(path: Path) -> Iterable[str]:
    """A line that is cut off, as the last one of a killed run may be, is passed over."""
    try:
        with path.open("rb") as file:
            while line := file.readline(LONGEST_LINE):
                yield from _message(line)
    except OSError:
        return


def _message(line: bytes) -> Iterable[str]:
    with suppress(ValueError, RecursionError):
        event: Any = json.loads(line.decode("utf-8", "replace"))
        if isinstance(event, dict) and event.get("level") in ("warning", "error"):
            yield str(event.get("message") or event.get("event") or "a warning without words")
