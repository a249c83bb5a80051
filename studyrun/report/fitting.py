"""Making texts fit: labels into the height of their axes, a legend into the width of its figure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from textwrap import fill

UNIT = re.compile(r"\[[^]]*\]")
LABEL_CHARACTER = 5.4  # points, the mean width of a character of an axis label
LEGEND_CHARACTER, LEGEND_HANDLE, LEGEND_WIDTH = 5.0, 40.0, 522.0  # points
ROOM_BELOW = 0.5  # inches of a row that ticks and titles take from its axes


def wrapped(label: str, height: float) -> str:
    """A y label broken into lines that fit beside axes in a row of `height` inches."""
    width = max(12, int((height - ROOM_BELOW) * 72 / LABEL_CHARACTER))
    whole = UNIT.sub(lambda unit: unit[0].replace(" ", "\N{NO-BREAK SPACE}"), label)
    return "\n".join(fill(line, width, break_long_words=False) for line in whole.split("\n"))


def legend_columns(labels: Sequence[str]) -> int:
    """How many entries stand side by side: all, if they fit into one row, else as many of the widest as do."""
    if sum(LEGEND_HANDLE + LEGEND_CHARACTER * len(label) for label in labels) <= LEGEND_WIDTH:
        return len(labels)
    return max(1, int(LEGEND_WIDTH // (LEGEND_HANDLE + LEGEND_CHARACTER * max(map(len, labels)))))
