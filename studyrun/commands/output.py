"""Writing to stdout and stderr, plain or as JSON."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from studyrun.commands.streams import drain, nobody_reads

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def write(text: str) -> None:
    """A line of the result, on stdout. A reader that has gone has what it wanted, and changes nothing else.

    Raises `OSError`, which names stdout, where it cannot be written for another reason.
    """
    try:
        sys.stdout.write(f"{_printable(text)}\n")
    except OSError as error:
        if not nobody_reads(sys.stdout, error):
            raise OSError(error.errno, error.strerror, "stdout") from error
        drain(sys.stdout)


def write_json(content: Any) -> None:
    """The result as JSON, on stdout, in ASCII alone where that is what stdout can take."""
    plain = not (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
    write(json.dumps(content, indent=2, ensure_ascii=plain, default=str))


def note(text: str) -> None:
    """A line beside the result, on stderr. It never raises: what it tells of is over, or is told by other means."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{_printable(text)}\n")


def _printable(text: str) -> str:
    """The text without what a terminal would obey: titles and messages may come from anybody's run folder."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


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
