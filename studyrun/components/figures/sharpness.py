"""The curvature that an optimizer's stability is about, of every arm, beside the threshold of its own optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from studyrun.plugin import Arm, Canvas, Ensemble, Field, Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVATURES = ("sharpness", "preconditioned_sharpness", "batch_sharpness")
FAR = 1.6  # a threshold this many times higher than anything recorded would squeeze the data: it is named, not drawn


class Sharpness(Figure):
    """Sharpness by arm, or the preconditioned or batch sharpness, with each arm's own threshold, t* and t** marked.

    The largest eigenvalue is a full line, further ones are thin. Each arm's threshold (2/η for gradient descent) is a
    dotted line over that arm's span, named in the margin, where it is one of the quantity drawn. Where a solver did not
    converge the line is broken, and the estimate it came to circled; the band of a single run is one standard error.
    Draws the channel eigenvalue(step, k) of a `sharpness` or `preconditioned_sharpness` probe, or value(step) of a
    `batch_sharpness` probe.

    Source: Cohen et al. 2021, arXiv 2103.00065, Section 3; Kwag et al. 2026, arXiv 2606.04212, Section 3.
    """

    probe: str | None = None
    """The label of the probe; null takes the first one that records such a curvature."""
    along: Literal["time", "step"] = "time"
    """The x axis: effective time Σ η, in which arms of different learning rates compare, or steps."""
    largest: Annotated[int, Field(ge=1)] = 5
    """At most so many of the recorded eigenvalues are drawn."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        probe, channel = self._find(ensemble)
        (panel,) = canvas.axes(height=3.4)
        arms = ensemble.recording(probe, channel)
        drawn = ensemble.channel(arms[0], probe, channel)
        ranks = drawn.labels.get("k", (None,))[: self.largest]
        for arm in arms:
            for rank in ranks:
                self._draw(ensemble, canvas, panel, (probe, channel, arm), rank, thin=rank != ranks[0])
            self._band(ensemble, canvas, panel, (probe, channel, arm))
        missed = sum(self._circle(ensemble, canvas, panel, (probe, channel, arm)) for arm in arms)
        thresholds = [self._threshold(ensemble, canvas, panel, arm, drawn.standard_name) for arm in arms]
        marks = canvas.mark_forks(panel, ensemble, along=self.along)
        return self._caption(drawn.long_name, len(ranks), missed, any(thresholds), marks)

    def _find(self, ensemble: Ensemble) -> tuple[str, str]:
        """The first probe, or the one asked for, with a curvature that thresholds are about, and the channel."""
        for arm in ensemble.arms:
            for probe in (one for run in ensemble.started(arm) for one in run.probes.values()):
                for name, channel in probe.channels.items():
                    if channel.standard_name in CURVATURES and self.probe in (None, probe.label):
                        return probe.label, name
        return ensemble.locate("sharpness", "eigenvalue", label=self.probe), "eigenvalue"

    def _draw(
        self,
        ensemble: Ensemble,
        canvas: Canvas,
        panel: Axes,
        place: tuple[str, str, str],
        rank: int | str | None,
        *,
        thin: bool,
    ) -> None:
        probe, channel, arm = place
        select = {} if rank is None else {"k": rank}
        series = ensemble.series(arm, probe, channel, along=self.along, select=select)
        label = f"{arm}, k = {rank}" if thin else arm
        canvas.line(panel, series, label=label, color=canvas.color(arm), style=canvas.line_style(arm))
        if thin:
            panel.get_lines()[-1].set(linewidth=0.6, label="_thin")

    def _band(self, ensemble: Ensemble, canvas: Canvas, panel: Axes, place: tuple[str, str, str]) -> None:
        """One standard error on either side, where one was recorded and the band does not stand for several runs."""
        probe, channel, arm = place
        if len(ensemble.runs) > 1 or arm not in ensemble.recording(probe, "standard_error"):
            return
        value = ensemble.series(arm, probe, channel, along=self.along)
        error = ensemble.series(arm, probe, "standard_error", along=self.along).median
        low, high = value.median - error, value.median + error
        panel.fill_between(value.x, low, high, color=canvas.color(arm), alpha=0.18, linewidth=0)
        canvas.table(f"standard_error_{arm}", {self.along: value.x, "value": value.median, "standard_error": error})

    def _circle(self, ensemble: Ensemble, canvas: Canvas, panel: Axes, place: tuple[str, str, str]) -> int:
        """Circle the largest eigenvalue wherever its solver gave up, and return how often it did."""
        probe, channel, arm = place
        found = [_unconverged(run.arms[arm], probe, channel, self.along) for run in ensemble.runs if arm in run.arms]
        x, y = (np.concatenate(parts) for parts in zip(*found, strict=True))
        if len(x):
            panel.scatter(x, y, s=22, facecolors="none", edgecolors=canvas.color(arm), linewidths=0.9, zorder=3)
            canvas.table(f"not_converged_{arm}", {self.along: x, "eigenvalue": y})
        return len(x)

    def _threshold(self, ensemble: Ensemble, canvas: Canvas, panel: Axes, arm: str, quantity: str) -> bool:
        """Draw the arm's threshold, or name one that is far away, and say whether it is one of this quantity."""
        first = next(run.arms[arm] for run in ensemble.runs if arm in run.arms and run.arms[arm].started)
        lines = [line for line in panel.get_lines() if np.isfinite(np.asarray(line.get_ydata())).any()]
        if first.threshold is None or first.threshold_quantity != quantity or not lines:
            return False
        highest = max(float(np.nanmax(np.asarray(line.get_ydata()))) for line in lines)
        own = [line for line in lines if line.get_color() == canvas.color(arm)]
        x = np.concatenate([np.asarray(line.get_xdata(), dtype=float) for line in own or lines])
        text = f"{arm}: {_formula(first)}"
        if first.threshold > FAR * highest:
            canvas.mark(panel, highest, f"{text} ↑", color=canvas.color(arm), level=True, span=(0.0, 0.0))
        else:
            span = float(x.min()), float(x.max())
            canvas.mark(panel, first.threshold, text, color=canvas.color(arm), level=True, span=span)
        return True

    def _caption(self, name: str, ranks: int, missed: int, thresholds: bool, marks: str) -> str:
        text = f"{name[0].upper()}{name[1:]} by arm"
        text += "; dotted: each arm's own stability threshold." if thresholds else "."
        text += f" Thin: the {'second' if ranks == 2 else f'next {ranks - 1}'} largest." if ranks > 1 else ""
        text += f" Circled: {missed} values whose solver did not converge." if missed else ""
        return f"{text} {marks}".strip()


def _unconverged(arm: Arm, probe: str, channel: str, along: str) -> tuple[np.ndarray, np.ndarray]:
    """Where the largest eigenvalue did not converge: x and the estimate; both empty where that was not recorded.

    Runs made before there was a channel for estimates have them among the values.
    """
    channels = arm.probes[probe].channels if probe in arm.probes else {}
    if "converged" not in channels or channel not in channels:
        return np.empty(0), np.empty(0)
    values = channels["unconverged" if "unconverged" in channels else channel].values[:, 0]
    missed = ~channels["converged"].values[:, 0].astype(bool) & np.isfinite(values)
    return getattr(channels[channel], along)[missed], values[missed]


def _formula(arm: Arm) -> str:
    """The threshold as a number, and as 2/η where it is that."""
    assert arm.threshold is not None
    plain = arm.learning_rate is not None and abs(arm.threshold * arm.learning_rate - 2) < 1e-6
    return f"{'2/η = ' if plain else 'threshold '}{arm.threshold:.4g}"
