"""Lines of a figure: as they are drawn, as the legend explains them, and as the CSV remembers them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from studyrun.report.fitting import legend_columns
from studyrun.report.style import GREY, Palette, literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from studyrun.trace.series import Series

MARKERS_PER_LINE = 7


@dataclass(frozen=True, slots=True)
class Line:
    """One line as it was drawn: where, whose, and its numbers."""

    axes: Axes
    label: str
    arm: str
    artist: Line2D
    series: Series

    @property
    def hidden(self) -> bool:
        """Whether the legend passes over this line."""
        return str(self.artist.get_label()).startswith("_")


def plot(axes: Axes, series: Series, place: int, **style: Any) -> Line2D:
    """Draw the median, with a band between the quartiles where there are several runs. `place` shifts the markers."""
    spacing = max(1, len(series.x) // MARKERS_PER_LINE)
    first = (place * spacing // 4) % spacing  # neighbouring lines carry their markers at different places
    (artist,) = axes.plot(series.x, finite(series.median), markevery=(first, spacing), markeredgewidth=0, **style)
    if series.count > 1:
        low, high = finite(series.low), finite(series.high)
        axes.fill_between(series.x, low, high, color=style["color"], alpha=0.18, linewidth=0)
    return artist


def plot_pale(axes: Axes, series: Series, color: str) -> Line2D:
    """Draw what was recorded, pale, behind a line that smooths it."""
    (artist,) = axes.plot(series.x, finite(series.median), color=color, linewidth=0.5, alpha=0.3, label="_recorded")
    return artist


def finite(values: np.ndarray) -> np.ndarray:
    """Values with gaps where an arm that diverged has infinities, which no axis can show."""
    return np.where(np.isfinite(values), values, np.nan)


def add_legend(figure: Figure, lines: Sequence[Line], palette: Palette) -> None:
    """One legend for all axes, above them: names by colour, then arms by style where lines belong to both."""
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
    if len(entries) > 1:
        columns = legend_columns(list(entries))
        figure.legend(list(entries.values()), list(entries), loc="outside upper left", ncols=columns)


def _arms(lines: Sequence[Line], palette: Palette) -> Mapping[str, Any]:
    """A grey line in the style of each arm, if lines of several arms share their names."""
    from matplotlib.lines import Line2D

    arms = dict.fromkeys(line.arm for line in lines if line.arm)
    if len(arms) < 2:
        return {}
    return {literal(arm): Line2D([], [], color=GREY, linestyle=palette.line_style(arm)) for arm in arms}
