"""Sharpness of every arm beside the threshold of its own optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from studyrun.plugin import Arm, Canvas, Ensemble, Field, Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FAR = 1.6  # a threshold this many times higher than anything recorded would squeeze the data: it is named, not drawn


class Sharpness(Figure):
    """Top Hessian eigenvalues by arm, with each arm's own threshold, t* and t** marked.

    The largest eigenvalue is a full line, further ones are thin. Each arm's threshold (2/η for gradient descent) is a
    dotted line over that arm's span, named in the margin. Values whose solver did not converge are circled. Draws the
    channel eigenvalue(step, k) of a `sharpness` probe.

    Source: Cohen et al. 2021, arXiv 2103.00065, Section 3; Kwag et al. 2026, arXiv 2606.04212, Section 3.
    """

    probe: str | None = None
    """The label of the probe; null takes the first one that records eigenvalues."""
    along: Literal["time", "step"] = "time"
    """The x axis: effective time Σ η, in which arms of different learning rates compare, or steps."""
    largest: Annotated[int, Field(ge=1)] = 5
    """At most so many of the recorded eigenvalues are drawn."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        probe = ensemble.locate("sharpness", "eigenvalue", label=self.probe)
        (panel,) = canvas.axes(height=3.4)
        arms = ensemble.recording(probe, "eigenvalue")
        ranks = ensemble.channel(arms[0], probe, "eigenvalue").labels["k"][: self.largest]
        for arm in arms:
            for rank in ranks:
                self._draw(ensemble, canvas, panel, probe, arm, rank, thin=rank != ranks[0])
        missed = sum(self._circle(ensemble, canvas, panel, probe, arm) for arm in arms)
        for arm in arms:
            self._threshold(ensemble, canvas, panel, arm)
        marks = canvas.mark_forks(panel, ensemble, along=self.along)
        return self._caption(len(ranks), missed, marks)

    def _draw(
        self, ensemble: Ensemble, canvas: Canvas, panel: Axes, probe: str, arm: str, rank: int | str, *, thin: bool
    ) -> None:
        series = ensemble.series(arm, probe, "eigenvalue", along=self.along, select={"k": rank})
        label = f"{arm}, k = {rank}" if thin else arm
        canvas.line(panel, series, label=label, color=canvas.color(arm), style=canvas.line_style(arm))
        if thin:
            panel.get_lines()[-1].set(linewidth=0.6, label="_thin")

    def _circle(self, ensemble: Ensemble, canvas: Canvas, panel: Axes, probe: str, arm: str) -> int:
        """Circle the largest eigenvalue wherever its solver gave up, and return how often it did."""
        found = [_unconverged(run.arms[arm], probe, self.along) for run in ensemble.runs if arm in run.arms]
        x, y = (np.concatenate(parts) for parts in zip(*found, strict=True))
        if len(x):
            panel.scatter(x, y, s=22, facecolors="none", edgecolors=canvas.color(arm), linewidths=0.9, zorder=3)
            canvas.table(f"not_converged_{arm}", {self.along: x, "eigenvalue": y})
        return len(x)

    def _threshold(self, ensemble: Ensemble, canvas: Canvas, panel: Axes, arm: str) -> None:
        first = next(run.arms[arm] for run in ensemble.runs if arm in run.arms and run.arms[arm].started)
        if first.threshold is None:
            return
        lines = [line for line in panel.get_lines() if line.get_color() == canvas.color(arm)]
        highest = max(float(np.nanmax(np.asarray(line.get_ydata()))) for line in panel.get_lines())
        x = np.concatenate([np.asarray(line.get_xdata(), dtype=float) for line in lines])
        span = float(x.min()), float(x.max())
        text = f"{arm}: {_formula(first)}"
        if first.threshold > FAR * highest:
            canvas.mark(panel, highest, f"{text} ↑", color=canvas.color(arm), level=True, span=(0.0, 0.0))
        else:
            canvas.mark(panel, first.threshold, text, color=canvas.color(arm), level=True, span=span)

    def _caption(self, ranks: int, missed: int, marks: str) -> str:
        text = "Sharpness (largest Hessian eigenvalue) by arm; dotted: each arm's own stability threshold."
        text += f" Thin: the {'second' if ranks == 2 else f'next {ranks - 1}'} largest." if ranks > 1 else ""
        text += f" Circled: {missed} values whose solver did not converge." if missed else ""
        return f"{text} {marks}".strip()


def _unconverged(arm: Arm, probe: str, along: str) -> tuple[np.ndarray, np.ndarray]:
    """Where the largest eigenvalue did not converge: x and value; both empty where that was not recorded."""
    channels = arm.probes[probe].channels if probe in arm.probes else {}
    if "converged" not in channels or "eigenvalue" not in channels:
        return np.empty(0), np.empty(0)
    missed = ~channels["converged"].values[:, 0].astype(bool)
    return getattr(channels["eigenvalue"], along)[missed], channels["eigenvalue"].values[missed, 0]


def _formula(arm: Arm) -> str:
    """The threshold as a number, and as 2/η where it is that."""
    assert arm.threshold is not None
    plain = arm.learning_rate is not None and abs(arm.threshold * arm.learning_rate - 2) < 1e-6
    return f"{'2/η = ' if plain else 'threshold '}{arm.threshold:.4g}"
