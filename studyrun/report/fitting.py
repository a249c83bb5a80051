"""Making texts fit: labels into the height of their axes, names into a line, a legend into the width of its figure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

UNIT = re.compile(r"\[[^]]*\]")
LABEL_CHARACTER = 5.4  # points, the mean width of a character of an axis label
LEGEND_CHARACTER, LEGEND_HANDLE, LEGEND_WIDTH = 5.0, 40.0, 522.0  # points
ROOM_BELOW = 0.5  # inches of a row that ticks and titles take from its axes
LONGEST, LONGEST_TICK = 40, 28  # characters of a name: in a legend or beside a line, and along an axis
MOST_LINES = 3  # of a label or a title


def shortened(text: str, longest: int = LONGEST) -> str:
    """A text that is too long, without its middle: names often differ at their ends. A formula is left as it is."""
    text = "".join(sign if sign.isprintable() else " " for sign in text)
    plain = text.replace(r"\$", "\0")  # one character each, so that none is cut in two
    if len(plain) <= longest or "$" in plain:
        return text
    tail = longest // 3
    return f"{plain[: longest - tail - 1]}…{plain[-tail:]}".replace("\0", r"\$")


def wrapped(label: str, height: float) -> str:
    """A y label broken into lines that fit beside axes in a row of `height` inches."""
    width = max(12, int((height - ROOM_BELOW) * 72 / LABEL_CHARACTER))
    whole = UNIT.sub(lambda unit: unit[0].replace(" ", "\N{NO-BREAK SPACE}"), label)
    return _lines(whole, width, break_long_words=max(map(len, whole.split(" "))) > 2 * width)


def _lines(text: str, width: int, *, break_long_words: bool = True) -> str:
    """Each line of the text in at most `MOST_LINES` of `width` characters; the rest of it is left out."""
    if "$" in text.replace(r"\$", ""):
        return text
    return "\n".join(
        fill(line, width, break_long_words=break_long_words, max_lines=MOST_LINES, placeholder=" …")
        for line in text.split("\n")
    )


def fit_texts(panel: Axes, width: float, height: float) -> None:
    """Break and shorten whatever is written on and beside axes of `width` × `height` inches."""
    characters = max(12, int((width - ROOM_BELOW) * 72 / LABEL_CHARACTER))
    panel.set_ylabel(wrapped(panel.get_ylabel(), height))
    panel.set_xlabel(_lines(panel.get_xlabel(), characters))
    if title := panel.get_title(loc="left"):
        panel.set_title(_lines(title, characters), loc="left")
    for text in panel.texts:
        text.set_text("\n".join(map(shortened, text.get_text().split("\n"))))
    for axis in (panel.xaxis, panel.yaxis):
        _fit_ticks(axis)


def _fit_ticks(axis: Axis) -> None:
    """Shorten names along an axis; numbers are no names."""
    from matplotlib.ticker import FixedLocator

    if not isinstance(axis.get_major_locator(), FixedLocator):
        return
    names = [label.get_text() for label in axis.get_ticklabels()]
    short = [shortened(name, LONGEST_TICK) for name in names]
    if short != names:
        axis.set_ticklabels(short)


def legend_columns(labels: Sequence[str]) -> int:
    """How many entries stand side by side: all, if they fit into one row, else as many of the widest as do."""
    if sum(LEGEND_HANDLE + LEGEND_CHARACTER * len(label) for label in labels) <= LEGEND_WIDTH:
        return len(labels)
    return max(1, int(LEGEND_WIDTH // (LEGEND_HANDLE + LEGEND_CHARACTER * max(map(len, labels)))))
