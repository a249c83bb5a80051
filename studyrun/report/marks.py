"""Labelled straight lines: moments (vertical) and levels (horizontal), their labels kept clear of one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

GAP = 4.0  # between two labels, in points
LINE_HEIGHT = 10.5  # of one label, in points
MOST_ROWS = 4  # of labels above one another


@dataclass(frozen=True, slots=True)
class Label:
    """The text of one mark, with the axes it stands beside."""

    axes: Axes
    text: Annotation


class Marks:
    """The marks of one figure. Lines are drawn at once; labels find their places when the layout is known."""

    def __init__(self) -> None:
        self._moments: list[Label] = []
        self._levels: list[Label] = []

    def moment(
        self, panels: Sequence[Axes], x: float, label: str, color: str, spread: tuple[float, float] | None
    ) -> None:
        """A vertical line through every panel, named above the first; `spread` shades where it lies over seeds."""
        for panel in panels:
            panel.axvline(x, color=color, linewidth=0.9, linestyle=(0, (4, 2)), alpha=0.9, zorder=1.5)
            if spread is not None and spread[1] > spread[0]:
                panel.axvspan(*spread, color=color, alpha=0.08, linewidth=0, zorder=1)
        text = panels[0].annotate(
            label,
            (x, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8,
            color=color,
            annotation_clip=False,
        )
        self._moments.append(Label(panels[0], text))

    def level(self, panel: Axes, y: float, label: str, color: str, span: tuple[float, float] | None) -> None:
        """A horizontal line over `span` (or all of the x axis), named in the right margin."""
        if span is None:
            panel.axhline(y, color=color, linewidth=0.9, linestyle=(0, (1, 1.5)))
        else:
            panel.hlines(y, *span, color=color, linewidth=1.1, linestyle=(0, (1, 1.5)))
        self.margin(panel, y, label, color)

    def margin(self, panel: Axes, y: float, label: str, color: str) -> None:
        """A label in the right margin at height y, without a line."""
        text = panel.annotate(
            label,
            (1.0, y),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            ha="left",
            va="center",
            fontsize=8,
            color=color,
            annotation_clip=False,
        )
        self._levels.append(Label(panel, text))

    def place(self, figure: Figure, renderer: RendererBase) -> bool:
        """Move labels apart: those of moments into rows above the axes, those of levels along the margin.

        A label for which there is no room is left out; its line stays. Return whether the layout has to be made anew,
        because something takes more room than before.
        """
        points = 72 / figure.dpi
        grown = False
        for panel in dict.fromkeys(mark.axes for mark in self._moments):
            rows = _stack([m.text for m in self._moments if m.axes is panel], renderer, points)
            titled = bool(panel.get_title(loc="left"))
            if titled:
                panel.set_title(panel.get_title(loc="left"), loc="left", pad=5 + LINE_HEIGHT * rows)
            grown |= titled or rows > 1
        for panel in dict.fromkeys(mark.axes for mark in self._levels):
            _spread(panel, [m.text for m in self._levels if m.axes is panel], renderer, points)
        return grown


def _stack(texts: Sequence[Annotation], renderer: RendererBase, points: float) -> int:
    """Put each text into the lowest of a few rows where it touches no other; return how many rows that took."""
    rows: list[float] = []  # the right edge of what each row holds so far
    for text in sorted(texts, key=lambda one: one.xy[0]):
        box = text.get_window_extent(renderer)
        row = next((i for i, edge in enumerate(rows) if box.x0 * points > edge + GAP), len(rows))
        if row == MOST_ROWS:
            text.set_visible(False)
            continue
        rows[row : row + 1] = [box.x1 * points]
        text.xyann = (0, 2 + LINE_HEIGHT * row)
    return len(rows)


def _spread(panel: Axes, texts: Sequence[Annotation], renderer: RendererBase, points: float) -> None:
    """Push texts along the margin, upwards from the lowest, until none overlap, as far as the axes reach."""
    edge = float("-inf")
    top = panel.get_window_extent(renderer).y1
    for text in sorted(texts, key=lambda one: one.xy[1]):
        box = text.get_window_extent(renderer)
        shift = max(0.0, edge - box.y0 * points)
        if shift and box.y0 * points + shift > top * points:
            text.set_visible(False)
            continue
        text.xyann = (4, shift)
        edge = box.y1 * points + shift + 1
