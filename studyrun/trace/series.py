"""Curves of several runs on one grid, and their quartiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from studyrun.errors import TraceError

Average = Literal["mean", "median"]
_HALF = 1e-9  # by so much the shares below a gap may miss one half, for they were rounded


@dataclass(frozen=True, eq=False)
class Series:
    """One curve a run on a common grid: `x` (m,) and `values` (r, m), with the words of both axes."""

    x: np.ndarray
    values: np.ndarray
    x_label: str
    y_label: str
    units: str

    @property
    def count(self) -> int:
        """The number of runs r."""
        return len(self.values)

    @property
    def known(self) -> np.ndarray:
        """How many runs have a number at each place, (m,)."""
        return np.asarray((~np.isnan(self.values)).sum(axis=0))

    @property
    def median(self) -> np.ndarray:
        """The median over the runs, (m,); runs that are NaN at a place do not count there."""
        return self.quantile(0.5)

    @property
    def low(self) -> np.ndarray:
        """The lower quartile over the runs, (m,); the value itself for one run."""
        return self.quantile(0.25)

    @property
    def high(self) -> np.ndarray:
        """The upper quartile over the runs, (m,); the value itself for one run."""
        return self.quantile(0.75)

    def quantile(self, share: float) -> np.ndarray:
        """The quantile over the runs, (m,), linear between order statistics; NaN where every run is.

        numpy's own gives NaN for the median of (1, ∞, ∞), which a diverged run would spread over the others.
        """
        ordered = np.sort(self.values, axis=0)  # NaN last
        last = np.maximum(self.known - 1, 0)
        place = last * share
        below = np.floor(place).astype(int)
        weight = place - below
        low = np.take_along_axis(ordered, below[None], axis=0)[0]
        high = np.take_along_axis(ordered, np.minimum(below + 1, last)[None], axis=0)[0]
        with np.errstate(invalid="ignore"):  # 0 · ∞, never chosen; ∞ − ∞, which has no mean
            return np.asarray(np.where((weight == 0) | (low == high), low, (1 - weight) * low + weight * high))

    def running_mean(self, width: float) -> Series:
        """Each value as the mean of all rows within `width` / 2 of it; the series itself where no row is that near.

        Near the ends the window is cut on both sides alike, so that a trend does not bend the line.
        """
        half = np.minimum(width / 2, np.minimum(self.x - self.x[0], self.x[-1] - self.x))
        first = np.searchsorted(self.x, self.x - half * (1 + 1e-9), side="left")
        last = np.searchsorted(self.x, self.x + half * (1 + 1e-9), side="right")
        if (last - first <= 1).all():
            return self
        # Each window is summed on its own: differences of running sums would carry a NaN to every later window.
        padded = np.pad(self.values, ((0, 0), (0, 1)))
        with np.errstate(invalid="ignore"):  # ∞ − ∞
            sums = np.add.reduceat(padded, np.stack([first, last], axis=1).ravel(), axis=1)[:, ::2]
        return replace(self, values=sums / (last - first))

    def over(
        self,
        start: float,
        end: float,
        at: Sequence[float] | None = None,
        average: Average = "mean",
    ) -> np.ndarray:
        """What each run is from `start` to `end`: its mean or median, weighted by x, (r, 1); or its values at fractions
        `at` of the way, (r, len(at)). NaN for a run that has NaN there, or where the grid does not reach.
        """
        inside = self.x[(self.x > start) & (self.x < end)]
        places = np.array([start, *inside, end]) if at is None else start + np.asarray(at, dtype=float) * (end - start)
        # start + 1.0 · (end − start) may miss the last row by a rounding
        slack = 1e-9 * (self.x[-1] - self.x[0])
        near = np.clip(places, self.x[0], self.x[-1])
        places = np.where(abs(places - near) <= slack, near, places)
        found = np.stack([interpolate(places, self.x, row) for row in self.values])
        if at is not None or start == end:
            return found[:, : None if at is not None else 1]
        widths = np.diff(places) / 2
        shares = (np.append(widths, 0) + np.append(0, widths)) / (end - start)
        if average == "median":
            return np.array([[_weighted_median(row, shares)] for row in found])
        return np.asarray((found * shares).sum(axis=1))[:, None]

    def at(self, x: ArrayLike) -> np.ndarray:
        """The medians at any places, by linear interpolation; NaN outside the grid."""
        places = np.asarray(x, dtype=float)
        return interpolate(places.ravel(), self.x, self.median).reshape(places.shape)


def _weighted_median(values: np.ndarray, shares: np.ndarray) -> float:
    """The middle between the lower and the upper weighted median, of shares that sum to one; NaN if any value is.

    The upper median is minus the lower one of the negated values: negated data give the negated answer, to the bit.
    """
    if np.isnan(values).any():
        return float("nan")
    low, high = _lower_median(values, shares), -_lower_median(-values, shares)
    return low if low == high else low / 2 + high / 2  # NaN between −∞ and ∞


def _lower_median(values: np.ndarray, shares: np.ndarray) -> float:
    """The smallest value that, with all below it, has half of the shares."""
    order = np.argsort(values, kind="stable")
    return float(values[order][np.searchsorted(np.cumsum(shares[order]), 0.5 - _HALF)])


def interpolate(x: np.ndarray, grid: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values at `x`, linear between the points of an increasing grid; exact on them; NaN outside.

    A point that is not finite spoils only the places strictly next to it, never another point of the grid.
    """
    right = np.clip(np.searchsorted(grid, x, side="left"), 0, len(grid) - 1)
    left = np.maximum(right - 1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = (x - grid[left]) / (grid[right] - grid[left])
        between = (1 - weight) * values[left] + weight * values[right]
    inside = (x >= grid[0]) & (x <= grid[-1])
    return np.where(inside, np.where(grid[right] == x, values[right], between), np.nan)


def on_common_grid(curves: Sequence[tuple[np.ndarray, np.ndarray]], what: str) -> tuple[np.ndarray, np.ndarray]:
    """Bring curves (x, values) to one grid: as they are if they share it, else interpolated within the reach of all.

    The grid is the union of all places inside that reach. Raises `TraceError` where there is no such place.
    """
    grids = [x for x, _ in curves]
    start = max((x[0] for x in grids), default=np.inf)
    end = min((x[-1] for x in grids), default=-np.inf)
    if start > end:
        raise TraceError(f"{what}: there is no stretch that every curve reaches")
    if all(np.array_equal(grids[0], x) for x in grids[1:]):
        return grids[0], np.stack([values for _, values in curves])
    union = np.unique(np.concatenate(grids))
    common = union[(union >= start) & (union <= end)]
    return common, np.stack([interpolate(common, x, values) for x, values in curves])
