"""Panels with more lines than can be told apart: quantiles of them in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from studyrun.report.lines import SMOOTHED, Line, finite
from studyrun.report.style import GREY, INK, Palette, literal
from studyrun.trace.series import Series, interpolate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NAMES = 12  # of one panel, each with a line of its own
PLACES = 400  # along x at which lines of different rows are compared
BANDS = ((0.05, 0.95, 0.12), (0.25, 0.75, 0.25))


def thin_out(panel: Axes, lines: Sequence[Line], palette: Palette) -> tuple[Sequence[Line], str]:
    """Replace the lines of a crowded panel, those of each arm by their quantiles; return which, and what to say of it.

    The CSV keeps every line.
    """
    own = [line for line in lines if line.axes is panel]
    named = [line for line in own if not line.hidden]
    names = dict.fromkeys(line.label for line in named)
    if len(names) <= MOST_NAMES:
        return (), ""
    sets: dict[str, list[Line]] = {}
    for line in named:
        sets.setdefault(line.arm, []).append(line)
    for line in own:
        line.remove()
    for arm, together in sets.items():
        _draw(panel, arm, _together([line.series for line in together]), palette, alone=len(sets) == 1)
    text = f"{len(names)} lines are too many for one panel: drawn are their median and the bands from 25 to 75 % "
    text += "and from 5 to 95 % of them" if len(sets) == 1 else "of them"
    return own, f"{text}, dotted the lowest and the highest; the CSV holds each.{_ends(sets)}"


def _draw(panel: Axes, arm: str, series: Series, palette: Palette, *, alone: bool) -> None:
    color, style = (palette.color(arm), palette.line_style(arm)) if arm else (INK, "-")
    who = f"{literal(arm)}: " if arm else ""
    for low, high, alpha in BANDS if alone else BANDS[1:]:
        lower, upper = (finite(series.quantile(share)) for share in (low, high))
        shade: Mapping[str, Any] = {"color": color if arm else GREY, "alpha": alpha, "linewidth": 0}
        label = f"{who}{low * 100:.0f} to {high * 100:.0f} % of {series.count}"
        panel.fill_between(series.x, lower, upper, label=label, **shade)
    panel.plot(series.x, finite(series.median), color=color, linestyle=style, label=f"{who}median of {series.count}")
    for share in (0.0, 1.0):
        panel.plot(series.x, finite(series.quantile(share)), color=color, linestyle=":", linewidth=0.7, label="_end")


def _together(curves: Sequence[Series]) -> Series:
    """The medians of the lines on one grid, a row each; where a line does not reach, it is NaN."""
    first = curves[0]
    if all(np.array_equal(first.x, one.x) for one in curves):
        x = first.x
    else:
        x = np.linspace(min(one.x[0] for one in curves), max(one.x[-1] for one in curves), PLACES)
    return Series(x, np.stack([interpolate(x, one.x, one.median) for one in curves]), "", "", "1")


def _ends(sets: Mapping[str, Sequence[Line]]) -> str:
    """Which lines lie lowest and highest at their ends, where the panel is one arm's."""
    last = [
        (float(line.series.median[-1]), line.label.removesuffix(SMOOTHED)) for lines in sets.values() for line in lines
    ]
    known = sorted(one for one in last if np.isfinite(one[0]))
    if len(sets) > 1 or len(known) < 2 or known[0][0] == known[-1][0]:
        return ""
    return f" At the end {known[0][1]} is lowest and {known[-1][1]} highest."
