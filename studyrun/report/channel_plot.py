"""Any channel, drawn by its dimensions: what a probe without figures of its own gets for nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from math import ceil, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from studyrun.report.lines import LARGEST, finite
from studyrun.report.style import literal
from studyrun.trace.series import on_common_grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from studyrun.component import Along
    from studyrun.report.canvas import ReportCanvas
    from studyrun.trace.channel_trace import ChannelTrace
    from studyrun.trace.ensemble import Ensemble

MOST_LINES = 10  # of one arm in one panel, before quantiles say more
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
X_LABELS: Mapping[str, str] = {"time": "effective time Σ η", "step": "training step"}


def draw_channel(canvas: ReportCanvas, ensemble: Ensemble, probe: str, channel: str, along: Along) -> None:
    """Draw a scalar as a line per arm, few labels as a line per arm and label, many as quantiles per arm."""
    arms = ensemble.recording(probe, channel)
    first = ensemble.channel((*arms, *ensemble.arms[:1])[0], probe, channel)
    if not first.labels:
        panel = canvas.axes(height=2.4)[0]
        for arm in arms:
            series = ensemble.series(arm, probe, channel, along=along)
            canvas.line(panel, series, label=arm, color=canvas.color(arm), style=canvas.line_style(arm))
        return
    once = all(len(ensemble.channel(arm, probe, channel).step) == 1 for arm in arms)
    draw = _lines if prod(map(len, first.labels.values())) <= MOST_LINES else _histogram if once else _bands
    columns = min(2, len(arms))
    panels = canvas.axes(ceil(len(arms) / columns), columns, height=2.6)
    for panel, arm in zip(panels, arms, strict=False):
        if len(arms) > 1:
            panel.set_title(literal(arm))
        draw(canvas, ensemble, panel, arm, probe, channel, along)
    canvas.share_y([panel for panel in panels if panel.has_data()], "auto" if draw is _bands else "linear")


def _lines(
    canvas: ReportCanvas, ensemble: Ensemble, panel: Axes, arm: str, probe: str, channel: str, along: Along
) -> None:
    for select in _places(ensemble.channel(arm, probe, channel)):
        series = ensemble.series(arm, probe, channel, along=along, select=select)
        label = ", ".join(
            str(value) if isinstance(value, str) else f"{name} = {value}" for name, value in select.items()
        )
        canvas.line(panel, series, label=label, color=canvas.color(label))


def _places(channel: ChannelTrace) -> Iterator[dict[str, Any]]:
    """Every combination of labels along the channel's dimensions."""
    for labels in product(*channel.labels.values()):
        yield dict(zip(channel.labels, labels, strict=True))


def _bands(
    canvas: ReportCanvas, ensemble: Ensemble, panel: Axes, arm: str, probe: str, channel: str, along: Along
) -> None:
    """Quantiles over all places at each step; over runs, the median of each quantile."""
    first = ensemble.channel(arm, probe, channel)
    curves = [_quantiles(one, along) for one in _recorded(ensemble, arm, probe, channel)]
    grids = [on_common_grid([(x, values[i]) for x, values in curves], channel) for i in range(len(QUANTILES))]
    x, quantiles = grids[0][0], [np.median(values, axis=0) for _, values in grids]
    color = canvas.color(arm)
    for low, high, alpha in ((0, 4, 0.15), (1, 3, 0.35)):
        text = f"{QUANTILES[low]:.0%} to {QUANTILES[high]:.0%} of {' × '.join(first.labels)}"
        lower, upper = finite(quantiles[low]), finite(quantiles[high])
        panel.fill_between(x, lower, upper, color=color, alpha=alpha, linewidth=0, label=text)
    panel.plot(x, finite(quantiles[2]), color=color, label="median", marker="o" if len(x) == 1 else "")
    panel.set(xlabel=X_LABELS[along], ylabel=literal(first.label))
    names = (f"quantile_{share:g}" for share in QUANTILES)
    canvas.table(f"{arm}_{channel}", {along: x, **dict(zip(names, quantiles, strict=True))})


def _histogram(
    canvas: ReportCanvas, ensemble: Ensemble, panel: Axes, arm: str, probe: str, channel: str, along: Along
) -> None:
    """How the numbers of the one recorded row are spread, pooled over runs."""
    found = list(_recorded(ensemble, arm, probe, channel))
    values = np.concatenate([np.ravel(one.values[0]).astype(float) for one in found])
    values = values[np.isfinite(values) & (abs(values) < LARGEST)]
    if not len(values):
        panel.plot([np.nan], [np.nan])  # which says that no number was recorded
        return
    counts, edges = np.histogram(values, bins=min(40, max(5, len(values) // 5)))
    panel.stairs(counts, edges, fill=True, color=canvas.color(arm), alpha=0.5)
    panel.set(xlabel=literal(found[0].label), ylabel="count")
    canvas.table(f"{arm}_{channel}", {"from": edges[:-1], "to": edges[1:], "count": counts})


def _recorded(ensemble: Ensemble, arm: str, probe: str, channel: str) -> Iterator[ChannelTrace]:
    for run in ensemble.started(arm):
        if probe in run and channel in run[probe] and len(run[probe].step):
            yield run[probe][channel]


def _quantiles(channel: ChannelTrace, along: Along) -> tuple[np.ndarray, np.ndarray]:
    """Places along the x axis (m,) and the quantiles there (5, m). NaN is padding, and passed over."""
    values = channel.values.reshape(len(channel.step), -1)
    padding = np.isnan(values).all(axis=0) if values.dtype.kind == "f" else np.zeros(values.shape[1], dtype=bool)
    if padding.all():
        return getattr(channel, along).astype(float), np.full((len(QUANTILES), len(values)), np.nan)
    return getattr(channel, along).astype(float), np.quantile(values[:, ~padding].astype(float), QUANTILES, axis=1)
