"""How the most typical and the most atypical examples stand to the sharpest direction, in time."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from studyrun.plugin import Canvas, Ensemble, Field, Figure, NothingToDrawError, Series, correlation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = ("most typical", "most atypical")
SHARES = (0.25, 0.5, 0.75)


class Typicality(Figure):
    """Alignment of the most typical and the most atypical examples with v_1 in time, one panel for each arm.

    The median of cos²(∇ℓ_i, v_1) over the tenth of the training examples that lie nearest to the centroid of their
    class, and over the tenth that lies farthest. The band of a single run holds the middle half of those examples, that
    of several the quartiles of the medians over runs. Draws the channels cos2 of `per_example_alignment` and distance
    of `centroid_distance`, each (step, example).

    Source: Kwag et al. 2026, arXiv 2606.04212, Figure 21.
    """

    share: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    """Which share of the examples is called typical, and which atypical."""
    probe: str | None = None
    """The label of the probe of alignment; null takes the first one that records it by example."""
    distances: str | None = None
    """The label of the probe of distances; null takes the first one that records them by example."""
    along: Literal["time", "step"] = "time"
    """The x axis: effective time Σ η, in which arms of different learning rates compare, or steps."""
    panels: Literal["arm", "examples"] = "arm"
    """One panel for each arm, to compare typical with atypical; or one for each of these, to compare arms."""
    scale: Literal["log", "linear"] = "log"
    """The axis of cos²."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        cos2 = correlation.locate_examples(ensemble, "per_example_alignment", "cos2", self.probe)
        distance = correlation.locate_examples(ensemble, "centroid_distance", "distance", self.distances)
        arms = ensemble.recording(*cos2)
        titles = arms if self.panels == "arm" else NAMES
        columns = min(2, len(titles))
        panels = canvas.axes(ceil(len(titles) / columns), columns, height=2.8)
        for panel, title in zip(panels, titles, strict=False):
            panel.set_title(title.replace("$", r"\$"))
        for place, arm in enumerate(arms):
            series = correlation.series_of_examples(ensemble, arm, distance, cos2, self.along, self._quantiles)
            for which, name in enumerate(NAMES):
                panel = panels[place if self.panels == "arm" else which]
                self._draw(canvas, panel, arm, name, series[3 * which : 3 * which + 3])
        drawn = panels[: len(titles)]
        for panel in drawn:
            panel.set_ylabel("cos²(∇ℓ_i, v₁), median")
        canvas.share_y(drawn, self.scale)
        marks = canvas.mark_forks(drawn, ensemble, along=self.along)
        band = "quartiles of the medians over runs" if len(ensemble.runs) > 1 else "25 to 75 % of those examples"
        text = f"Alignment with v1 of the {self.share:.0%} of training examples nearest to the centroid of their class "
        return f"{text}and of the {self.share:.0%} farthest from it: median; band: {band}. {marks}".strip()

    def _quantiles(self, pairs: correlation.Pairs) -> np.ndarray:
        """The quartiles of the typical examples at each moment, then of the atypical ones, (6, m)."""
        distance = pairs.first[0]
        ranked = np.argsort(distance, kind="stable")[: int(np.isfinite(distance).sum())]  # NaN last
        if not len(ranked):
            raise NothingToDrawError("no distance to a centroid is a number, so that nothing is typical or atypical")
        count = max(1, round(self.share * len(ranked)))
        sets = [pairs.second[:, ranked[:count]], pairs.second[:, ranked[len(ranked) - count :]]]
        examples = [Series(pairs.time, chosen.T, "", "", "1") for chosen in sets]
        return np.array([each.quantile(share) for each in examples for share in SHARES])

    def _draw(self, canvas: Canvas, panel: Axes, arm: str, name: str, quartiles: tuple[Series, ...]) -> None:
        low, middle, high = quartiles
        by_arm = self.panels == "arm"
        color, style = canvas.color(name if by_arm else arm), "-" if by_arm else canvas.line_style(arm)
        canvas.line(panel, middle, label=name if by_arm else arm, color=color, style=style)
        if middle.count == 1:
            panel.fill_between(low.x, low.values[0], high.values[0], color=color, alpha=0.18, linewidth=0)
            columns = {"low": low.values[0], "median": middle.values[0], "high": high.values[0]}
            canvas.table(f"{arm}_{name}", {self.along: low.x, **columns})
