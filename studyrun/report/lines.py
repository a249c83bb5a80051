"""Lines of a figure: as they are drawn, as the legend explains them, and as the CSV remembers them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from studyrun.report.fitting import legend_columns, shortened
from studyrun.report.style import GREY, Palette, literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from studyrun.trace.series import Series

MARKERS_PER_LINE = 7
SMOOTHED = " (running mean)"  # after the name of a line that is one
MOST_ENTRIES = 24  # of a legend
LARGEST = 1e290


@dataclass(frozen=True, slots=True)
class Line:
    """One line as it was drawn: where, whose, and its numbers."""

    axes: Axes
    label: str
    arm: str
    artist: Line2D
    series: Series
    band: PolyCollection | None = None

    @property
    def hidden(self) -> bool:
        """Whether the legend passes over this line."""
        return str(self.artist.get_label()).startswith("_")

    def remove(self) -> None:
        """Take it off its axes."""
        self.artist.remove()
        if self.band is not None:
            self.band.remove()


def plot(axes: Axes, series: Series, place: int, *, marker: str, **style: Any) -> tuple[Line2D, PolyCollection | None]:
    """Draw the median, with a band between the quartiles where there are several runs. `place` shifts the markers.

    A number without a neighbour to draw a line to is a point, or nobody would see it.
    """
    median = finite(series.median)
    spacing = max(1, len(series.x) // MARKERS_PER_LINE)
    first = (place * spacing // 4) % spacing  # neighbouring lines carry their markers at different places
    lonely = _lonely(np.isfinite(median))
    marked = sorted({*lonely, *(range(first, len(median), spacing) if marker else ())})
    if len(lonely):
        marker = marker or "o"
    (artist,) = axes.plot(series.x, median, markevery=marked, marker=marker, markeredgewidth=0, **style)
    if series.count < 2:
        return artist, None
    low, high = finite(series.low), finite(series.high)
    return artist, axes.fill_between(series.x, low, high, color=style["color"], alpha=0.18, linewidth=0)


def _lonely(known: np.ndarray) -> list[int]:
    """The places of numbers with none on either side."""
    beside = np.pad(known, 1)
    return [int(place) for place in np.flatnonzero(known & ~beside[:-2] & ~beside[2:])]


def plot_pale(axes: Axes, series: Series, color: str) -> Line2D:
    """Draw what was recorded, pale, behind a line that smooths it."""
    (artist,) = axes.plot(series.x, finite(series.median), color=color, linewidth=0.5, alpha=0.3, label="_recorded")
    return artist


def finite(values: np.ndarray) -> np.ndarray:
    """Values with gaps where no axis can show them: infinities of an arm that diverged, and what is close to them."""
    with np.errstate(invalid="ignore"):
        return np.where(abs(values) < LARGEST, values, np.nan)


def add_legend(figure: Figure, lines: Sequence[Line], palette: Palette) -> str:
    """One legend for all axes, above them: names by colour, then arms by style where lines belong to both.

    Return what to say where there are too many names for one.
    """
    from matplotlib.lines import Line2D

    entries: dict[str, Any] = {}
    for panel in figure.axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    for line in (line for line in lines if line.arm and not line.hidden):
        entries[str(line.artist.get_label())] = solid = Line2D([], [])
        solid.update_from(line.artist)
        solid.set_linestyle("-")
    entries |= _arms(lines, palette)
    count, said = len(entries), ""
    if count > MOST_ENTRIES:
        entries = {label: handle for label, handle in entries.items() if palette.is_arm(label)}
        said = f"{count - len(entries)} names are too many for a legend; the CSV holds them."
    if len(entries) > 1:
        labels = list(map(shortened, entries))
        figure.legend(list(entries.values()), labels, loc="outside upper left", ncols=legend_columns(labels))
    return said


def _arms(lines: Sequence[Line], palette: Palette) -> Mapping[str, Any]:
    """A grey line in the style of each arm, if lines of several arms share their names."""
    from matplotlib.lines import Line2D

    arms = dict.fromkeys(line.arm for line in lines if line.arm)
    if len(arms) < 2:
        return {}
    return {literal(arm): Line2D([], [], color=GREY, linestyle=palette.line_style(arm)) for arm in arms}
