"""Making things fit: labels into the height of their axes, a legend into the width, and axes into a tidy grid."""

from __future__ import annotations

import re
from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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


def trim(panels: Sequence[Axes], columns: int, share_x: bool) -> None:
    """Remove axes that hold nothing; name a shared x axis once a column, below, and a shared y axis once a row."""
    for panel in panels:
        if not panel.has_data():
            panel.remove()
    for place, panel in enumerate(panels):
        below = panels[place + columns :: columns]
        if share_x and any(other.has_data() for other in below):
            panel.set_xlabel("")
            panel.tick_params(labelbottom=False)
    for place in reversed(range(len(panels))):
        panel, left = panels[place], panels[place - 1]
        shared = panel.get_shared_y_axes().joined(panel, left)
        if place % columns and shared and panel.get_ylabel() == left.get_ylabel():
            panel.set_ylabel("")
