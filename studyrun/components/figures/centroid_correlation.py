"""Whether atypical examples pull along the sharpest direction, over the whole trajectory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from studyrun.plugin import Canvas, Ensemble, Field, Figure, NothingToDrawError, Series, correlation, edge

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class CentroidCorrelation(Figure):
    """Spearman's ρ between the examples' centroid distance and their alignment with v_1 in time, for each arm.

    ρ(‖x_i − μ_{y_i}‖, cos²(∇ℓ_i, v_1)) at every recorded row: above zero, atypical examples are the more aligned. The
    band of a single run is the Bonett–Wright interval over its examples, that of several the quartiles over runs. Above
    it stands the curvature that each arm's threshold is about, if it was recorded. At the edge of stability iterates
    jump across the valley at every step, and ρ with them: a probe that is due at even steps alone sees one side. Draws
    the channels cos2 of `per_example_alignment` and distance of `centroid_distance`, each (step, example).

    Source: Kwag et al. 2026, arXiv 2606.04212, Figure 20.
    """

    probe: str | None = None
    """The label of the probe of alignment; null takes the first one that records it by example."""
    distances: str | None = None
    """The label of the probe of distances; null takes the first one that records them by example."""
    along: Literal["time", "step"] = "time"
    """The x axis: effective time Σ η, in which arms of different learning rates compare, or steps."""
    arms: tuple[str, ...] | None = None
    """Which arms to draw; null draws every one that recorded alignment."""
    smooth: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """ρ is a running mean over this share of the time shown, with what was recorded pale behind; 0: as recorded."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        cos2 = correlation.locate_examples(ensemble, "per_example_alignment", "cos2", self.probe)
        distance = correlation.locate_examples(ensemble, "centroid_distance", "distance", self.distances)
        arms = [arm for arm in ensemble.recording(*cos2) if self.arms is None or arm in self.arms]
        if not arms:
            raise NothingToDrawError(f"none of the arms {', '.join(self.arms or ())} recorded alignment by example")
        curvature = {arm: found for arm in arms if (found := edge.edge_series(ensemble, arm, self.along)) is not None}
        *above, panel = canvas.axes(1 + bool(curvature), height=2.6)
        for arm, series in curvature.items():
            canvas.line(above[0], series, label=arm, color=canvas.color(arm), style=canvas.line_style(arm))
            _threshold(ensemble, canvas, above[0], arm, series)
        for arm in arms:
            self._draw(ensemble, canvas, panel, arm, distance, cos2)
        panel.axhline(0, color="#1a1a1a", linewidth=1.0, zorder=1.8)
        panel.set_ylabel("Spearman's ρ of centroid distance and cos²(∇ℓ_i, v₁)")
        marks = canvas.mark_forks([*above, panel], ensemble, along=self.along)
        band = "the quartiles over runs" if len(ensemble.runs) > 1 else "the 95 % interval over examples"
        text = f"Spearman's ρ of centroid distance and alignment with v1 over the training examples; band: {band}."
        text += (
            f" Lines are running means over {self.smooth:.0%} of the time, pale: as recorded." if self.smooth else ""
        )
        text += " Dotted: each arm's own stability threshold." if curvature else ""
        return f"{text} {marks}".strip()

    def _draw(
        self,
        ensemble: Ensemble,
        canvas: Canvas,
        panel: Axes,
        arm: str,
        distance: correlation.Source,
        cos2: correlation.Source,
    ) -> None:
        rho, low, high = correlation.series_of_examples(
            ensemble, arm, distance, cos2, self.along, correlation.Pairs.correlations
        )
        canvas.line(panel, rho, label=arm, color=canvas.color(arm), style=canvas.line_style(arm), smooth=self.smooth)
        if rho.count == 1:
            width = self.smooth * float(rho.x[-1] - rho.x[0])
            ends = [series.running_mean(width).values[0] for series in (low, high)]
            panel.fill_between(rho.x, *ends, color=canvas.color(arm), alpha=0.2, linewidth=0)
            columns = {"rho": rho.values[0], "low": low.values[0], "high": high.values[0]}
            canvas.table(f"interval_{arm}", {self.along: rho.x, **columns})


def _threshold(ensemble: Ensemble, canvas: Canvas, panel: Axes, arm: str, series: Series) -> None:
    """The arm's own threshold as a dotted line over its span."""
    level = ensemble.started(arm)[0].threshold
    if level is not None:
        span = float(series.x[0]), float(series.x[-1])
        canvas.mark(panel, level, f"{arm}: {level:.4g}", color=canvas.color(arm), level=True, span=span)
