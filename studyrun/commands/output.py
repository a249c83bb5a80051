"""Writing to stdout and stderr, plain or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any


def write(text: str) -> None:
    """A line of the result, on stdout."""
    sys.stdout.write(f"{text}\n")


def write_json(content: Any) -> None:
    """The result as JSON, on stdout."""
    write(json.dumps(content, indent=2, ensure_ascii=False, default=str))


def note(text: str) -> None:
    """A line beside the result, on stderr."""
    sys.stderr.write(f"{text}\n")


def table(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Rows as lines whose columns stand below one another; the last column is as long as it is."""
    if not rows:
        return []
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]) - 1)]
    padded = ([cell.ljust(width) for cell, width in zip(row, (*widths, 0), strict=True)] for row in rows)
    return [f"{indent}{'  '.join(cells)}".rstrip() for cells in padded]


def seconds(count: float | None) -> str:
    """A duration as people say it."""
    if count is None:
        return ""
    if count < 60:
        return f"{count:.3g} s"
    minutes, rest = divmod(round(count), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
