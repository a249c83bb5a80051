"""How the ends of runs depend on a number that a sweep varies: one figure over all conditions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from studyrun.report.selection import shown
from studyrun.report.style import literal
from studyrun.trace.channel import EVIDENCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from studyrun.report.canvas import ReportCanvas
    from studyrun.trace.ensemble import Ensemble

MOST_PANELS = 6
WIDE = 20.0  # largest over smallest value from which the axis of the swept number is logarithmic


def numeric_parameters(ensembles: Sequence[Ensemble]) -> Sequence[str]:
    """The swept parameters that are numbers in every condition and take more than one value."""
    names = dict.fromkeys(name for ensemble in ensembles for name in ensemble.condition)
    found = []
    for name in names:
        values = [ensemble.condition.get(name) for ensemble in ensembles]
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        if numbers and len(set(values)) > 1:
            found.append(name)
    return found


def draw_comparison(ensembles: Sequence[Ensemble], parameter: str, canvas: ReportCanvas) -> str:
    """Draw the last value of each scalar channel (of each first eigenvalue too) against `parameter`, by arm."""
    chosen = [shown(one) for one in ensembles]
    ensembles = [some for some, _ in chosen]
    canvas.say(next((words for _, words in chosen if words), ""))
    found = _channels(ensembles)
    channels = found[:MOST_PANELS]
    if len(found) > MOST_PANELS:
        canvas.say(f"Shown are the first {MOST_PANELS} of {len(found)} channels.")
    columns = min(2, len(channels))
    panels = canvas.axes(ceil(len(channels) / columns), columns, height=2.4)
    for panel, (probe, channel) in zip(panels, channels, strict=False):
        for arm in dict.fromkeys(arm for ensemble in ensembles for arm in ensemble.recording(probe, channel)):
            _draw(ensembles, parameter, canvas, panel, (arm, probe, channel))
    text = f"Last recorded values against {parameter}, by arm"
    several = max(len(ensemble.runs) for ensemble in ensembles) > 1
    return f"{text}: medians over runs, with bars from the lower to the upper quartile." if several else f"{text}."


def _channels(ensembles: Sequence[Ensemble]) -> list[tuple[str, str]]:
    """Probe and channel of every scalar, and of every channel that some arm's threshold is about."""
    found: dict[tuple[str, str], None] = {}
    for arm in (one for ensemble in ensembles for name in ensemble.arms for one in ensemble.started(name)):
        for label, probe in arm.probes.items():
            for name, channel in probe.channels.items():
                about = channel.standard_name and channel.standard_name == arm.threshold_quantity
                if name not in EVIDENCE and len(channel.step) and (not channel.labels or about):
                    found[label, name] = None
    return list(found)


def _draw(
    ensembles: Sequence[Ensemble], parameter: str, canvas: ReportCanvas, panel: Axes, where: tuple[str, str, str]
) -> None:
    points = sorted(_points(ensembles, parameter, where))
    if not points:
        return
    x, low, middle, high = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    arm, probe, channel = where
    panel.errorbar(
        x,
        middle,
        yerr=(middle - low, high - middle),
        color=canvas.color(arm),
        linestyle=canvas.line_style(arm),
        marker="o",
        capsize=2.5,
        label=literal(arm),
    )
    first = next(ensemble for ensemble in ensembles if arm in ensemble.recording(probe, channel))
    panel.set(xlabel=literal(parameter), ylabel=f"last {literal(first.channel(arm, probe, channel).label)}")
    panel.margins(x=0.05)
    if x.min() > 0 and x.max() > WIDE * x.min():
        panel.set_xscale("log")
    columns = {parameter: x, "lower_quartile": low, "median": middle, "upper_quartile": high}
    canvas.table(f"{arm}_{probe}_{channel}", columns)


def _points(ensembles: Sequence[Ensemble], parameter: str, where: tuple[str, str, str]) -> Iterator[tuple[Any, ...]]:
    """Parameter, lower quartile, median and upper quartile of the last values, for every condition."""
    arm, probe, channel = where
    for ensemble in ensembles:
        arms = [one for one in ensemble.started(arm) if probe in one and channel in one[probe]]
        last = [np.ravel(one[probe][channel].values[-1])[0] for one in arms if len(one[probe].step)]
        if last:
            yield (ensemble.condition[parameter], *np.nanquantile(np.array(last, dtype=float), (0.25, 0.5, 0.75)))
