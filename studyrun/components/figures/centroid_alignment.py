"""Which examples pull along the sharpest direction, the typical or the atypical ones, at chosen moments."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, isnan, nan
from statistics import median
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from studyrun.plugin import (
    Canvas,
    Ensemble,
    Field,
    Figure,
    NothingToDrawError,
    OverRuns,
    Run,
    Series,
    correlation,
    edge,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Found = Sequence[tuple[correlation.Pairs, int]]  # of each run its pairs, and the row nearest to the moment
BELOW = 0.01  # of the points may lie below a logarithmic axis, which the smallest of thousands would squeeze


class CentroidAlignment(Figure):
    """Alignment of single examples with the top eigenvector against their distance to the centroid of their class.

    A panel for each moment: cos²(∇ℓ_i, v_1) of every example over ‖x_i − μ_{y_i}‖, the median of equally large sets of
    examples by distance, and Spearman's ρ. Of one run ρ stands with the Bonett–Wright interval over its examples; of
    several it is their median, with its interval over runs where these are enough, and points and medians are of all
    together. Draws the channels cos2 of `per_example_alignment` and distance of `centroid_distance`, by example.

    Source: Kwag et al. 2026, arXiv 2606.04212, Figure 8.
    """

    at: Annotated[tuple[edge.When, ...], Field(min_length=1, max_length=12)] = ("midway", "onset", "end")
    """The moments: `midway` to the arm's onset t*, `onset`, `end`, `start`, a step, or a share as in {after: 0.25}."""
    arm: str = "baseline"
    """Of which arm."""
    probe: str | None = None
    """The label of the probe of alignment; null takes the first one that records it by example."""
    distances: str | None = None
    """The label of the probe of distances; null takes the first one that records them by example."""
    sets: Annotated[int, Field(ge=2)] = 12
    """How many equally large sets of examples, from the nearest to the farthest, have their median drawn."""
    points: Annotated[int, Field(ge=0)] = 2000
    """At most so many points in a panel; medians and ρ are of all examples."""
    scale: Literal["log", "linear"] = "log"
    """The axis of cos²."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        cos2 = correlation.locate_examples(ensemble, "per_example_alignment", "cos2", self.probe)
        distance = correlation.locate_examples(ensemble, "centroid_distance", "distance", self.distances)
        runs = [run for run in ensemble.runs if correlation.has_examples(run, self.arm, cos2, distance)]
        if not runs:
            raise NothingToDrawError(f"no run recorded the alignment of the examples of {self.arm!r}")
        both = [(run, correlation.pair_examples(run, self.arm, distance, cos2)) for run in runs]
        symbol = "t**" if ensemble.parents[self.arm] else "t*"
        moments = [(edge.moment_words(when, symbol), self._found(both, when)) for when in self.at]
        shown = [(words, found) for words, found in moments if found]
        if not shown:
            raise NothingToDrawError(f"{self.arm} has no row at {' or '.join(words for words, _ in moments)}")
        columns = min(3, len(shown))
        panels = canvas.axes(ceil(len(shown) / columns), columns, height=2.9)
        for panel, (words, found) in zip(panels, shown, strict=False):
            self._draw(canvas, panel, words, found, len(runs))
        self._scale(canvas, panels[: len(shown)])
        return self._caption(len(runs), [words for words, found in moments if not found])

    def _found(self, both: Sequence[tuple[Run, correlation.Pairs]], when: edge.When) -> Found:
        rows = [(pairs, edge.row_at(run, self.arm, when, pairs)) for run, pairs in both]
        return [(pairs, row) for pairs, row in rows if row is not None]

    def _draw(self, canvas: Canvas, panel: Axes, words: str, found: Found, runs: int) -> None:
        step = median(int(pairs.step[row]) for pairs, row in found)
        panel.set_title(f"{words}\nstep {step:.10g}")
        x, y = (np.concatenate([getattr(pairs, side)[row] for pairs, row in found]) for side in ("first", "second"))
        known = np.isfinite(x) & np.isfinite(y)
        x, y = x[known], y[known]
        canvas.table(f"examples_{words}", {"distance": x, "cos2": y})
        some = np.linspace(0, len(x) - 1, min(len(x), self.points)).astype(int)
        color = canvas.color(self.arm)
        panel.scatter(x[some], y[some], s=7, color=color, alpha=0.3, linewidths=0, rasterized=len(some) > 500)
        self._trend(canvas, panel, x, y, found[0][0])
        words = _correlation(found, runs)
        text = panel.text(0.03, 0.03, words, transform=panel.transAxes, fontsize=8, va="bottom", zorder=4)
        text.set_bbox({"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1.5})

    def _trend(self, canvas: Canvas, panel: Axes, x: np.ndarray, y: np.ndarray, labels: correlation.Pairs) -> None:
        """The median of each set over the median of its distances, with its quartiles as a band."""
        sets = [part for part in np.array_split(np.argsort(x, kind="stable"), self.sets) if len(part)]
        if not sets:
            return
        low, middle, high = np.array([np.quantile(y[part], (0.25, 0.5, 0.75)) for part in sets]).T
        places = np.array([np.median(x[part]) for part in sets])
        series = Series(places, middle[None], "centroid distance ‖x − μ_y‖", labels.second_label, "1")
        canvas.line(panel, series, label="median by distance", color="#1a1a1a")
        panel.fill_between(places, low, high, color="#1a1a1a", alpha=0.15, linewidth=0)

    def _scale(self, canvas: Canvas, panels: Sequence[Axes]) -> None:
        """One axis for all panels."""
        canvas.share_y(panels, self.scale)
        drawn = np.concatenate([np.asarray(panel.collections[0].get_offsets())[:, 1] for panel in panels])
        if self.scale == "log" and (drawn > 0).any():
            panels[0].set_ylim(np.quantile(drawn[drawn > 0], BELOW) / 2, 2 * drawn.max())

    def _caption(self, runs: int, missing: Sequence[str]) -> str:
        text = f"Alignment of single examples in {self.arm} over the distance to the centroid of their class; line and"
        text += f" band: median and quartiles of {self.sets} equally large sets by distance. ρ: Spearman's, "
        one = "with the 95 % Bonett–Wright interval over the examples."
        text += one if runs == 1 else f"the median of {runs} runs, with its interval over runs, which takes six."
        if self.scale == "log":
            text += f" The lowest {BELOW:.0%} of cos² may lie below the axis."
        return f"{text} Not shown, since {self.arm} has no such moment: {', '.join(missing)}." if missing else text


def _correlation(found: Found, runs: int) -> str:
    """ρ at this moment in words: of a lone run with the interval over its examples, of several with that over runs."""
    each = [pairs.correlation(row) for pairs, row in found]
    if runs == 1 and not isnan(each[0].rho):
        rho, low, high, pairs = each[0]
        return f"ρ = {_two_digits(rho)} [{_two_digits(low)}, {_two_digits(high)}]\nn = {pairs}"
    over = OverRuns.of([one.rho for one in each] + [nan] * (runs - len(each)))
    if not over.known:
        return "ρ undefined"
    count = f"{len(over.known)} runs" if len(over.known) == runs else f"{len(over.known)} of {runs} runs"
    if (ends := over.interval) is None:
        return f"ρ = {_two_digits(over.median)}\n{count}: too few for an interval"
    span = f"[{_two_digits(ends.low)}, {_two_digits(ends.high)}]"
    return f"ρ = {_two_digits(over.median)} {span}\n{count}, {100 * ends.coverage:.1f} %"


def _two_digits(rho: float) -> str:
    return f"{rho:+.2f}".replace("-", "−").replace("inf", "∞")
