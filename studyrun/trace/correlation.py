"""How two numbers of each example go together: Spearman's ρ with its interval, at a moment or row by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from studyrun.errors import TraceError
from studyrun.trace.ensemble import X_LABELS
from studyrun.trace.median import LEVEL
from studyrun.trace.series import Series, on_common_grid

if TYPE_CHECKING:
    from studyrun.trace.arm import Arm, ProbeTrace
    from studyrun.trace.channel_trace import ChannelTrace
    from studyrun.trace.ensemble import Along, Ensemble
    from studyrun.trace.reader import Run

FEWEST = 10  # pairs, of which the interval covers what it says
BY_EXAMPLE = ("step", "example")


class RankCorrelation(NamedTuple):
    """Spearman's ρ, the interval for it, and of how many pairs; NaN where nothing varies."""

    rho: float
    low: float
    high: float
    pairs: int


def rank_correlation(first: ArrayLike, second: ArrayLike, level: float = LEVEL) -> RankCorrelation:
    """Spearman's ρ of pairs (n,) with an interval; ties share their mean rank, pairs with a NaN are left out.

    The interval is that of Bonett and Wright: tanh(artanh ρ ± z √((1 + ρ²/2) / (n − 3))), with z the normal quantile.
    It has its level for a bivariate normal relation of |ρ| < 0.95, by simulation 94 to 97 % from ten pairs on; of fewer
    it covers less (46 % at four) and is all of [−1, 1]. Where the spread of one number grows with the other it covers
    86 to 91 %. At ρ = ±1 it has no width. It is of the pairs alone, and knows nothing of other runs.

    ρ and its interval are NaN where one of the two is constant or fewer than two pairs are left.

    Source: Bonett and Wright 2000, Psychometrika 65, pages 23 to 28.
    """
    from scipy.stats import spearmanr

    x, y = np.asarray(first, dtype=float).ravel(), np.asarray(second, dtype=float).ravel()
    known = ~(np.isnan(x) | np.isnan(y))
    x, y = x[known], y[known]
    if len(x) < 2 or (x == x[0]).all() or (y == y[0]).all():
        return RankCorrelation(np.nan, np.nan, np.nan, len(x))
    rho = float(np.clip(spearmanr(x, y).statistic, -1, 1))
    return RankCorrelation(rho, *_interval(rho, len(x), level), len(x))


def _interval(rho: float, pairs: int, level: float) -> tuple[float, float]:
    if pairs < FEWEST:
        return -1.0, 1.0
    half = NormalDist().inv_cdf((1 + level) / 2) * sqrt((1 + rho**2 / 2) / (pairs - 3))
    with np.errstate(divide="ignore"):  # artanh 1 = ∞, and tanh ∞ = 1
        center = np.arctanh(rho)
    return float(np.tanh(center - half)), float(np.tanh(center + half))


class Source(NamedTuple):
    """Where a number of each example stands: the label of the probe that recorded it, and its channel."""

    probe: str
    channel: str


@dataclass(frozen=True, eq=False)
class Pairs:
    """Two numbers of the same n examples at m moments of one arm: `first` and `second` (m, n), `step` and `time` (m,).

    A number that was recorded once is the same at every moment. The labels are those of an axis.
    """

    step: np.ndarray
    time: np.ndarray
    first: np.ndarray
    second: np.ndarray
    first_label: str
    second_label: str

    def correlation(self, row: int, level: float = LEVEL) -> RankCorrelation:
        """Spearman's ρ at one moment."""
        return rank_correlation(self.first[row], self.second[row], level)

    def correlations(self, level: float = LEVEL) -> np.ndarray:
        """ρ and the two ends of its interval at every moment, (3, m)."""
        found = [self.correlation(row, level)[:3] for row in range(len(self.step))]
        return np.array(found, dtype=float).reshape(-1, 3).T


def pair_examples(run: Run, arm: str, first: Source, second: Source) -> Pairs:
    """Two numbers of the examples of an arm, side by side: those of equal label, at equal steps.

    What was recorded in one row alone, at initialisation say, stands for every moment; a branch takes it from the arm
    that it forked from. Raises `TraceError` where a number is missing, is not one by example, or where the two share
    no example or no step.
    """
    one, other = (_required(run, run[arm], source) for source in (first, second))
    kept = np.intersect1d(_labels(one), _labels(other), assume_unique=True, return_indices=True)[1:]
    if not len(kept[0]):
        raise TraceError(f"{_words(first)} and {_words(second)} have no example in common")
    steps, rows = _common_rows(one, other)
    if not len(steps.step[rows[2]]):
        raise TraceError(f"{arm}: {_words(first)} and {_words(second)} were never recorded at the same step")
    values = [
        np.asarray(channel.values[np.ix_(places, examples)], dtype=float)
        for channel, places, examples in zip((one, other), rows[:2], kept, strict=True)
    ]
    return Pairs(steps.step[rows[2]], steps.time[rows[2]], values[0], values[1], one.label, other.label)


def series_of_examples(
    ensemble: Ensemble, arm: str, first: Source, second: Source, along: Along, reduce: Callable[[Pairs], np.ndarray]
) -> tuple[Series, ...]:
    """What `reduce` makes of the pairs of each run, (k, m), as k series over the runs that have them.

    Raises `TraceError` where no run of this arm has any.
    """
    found = [pair_examples(run, arm, first, second) for run in ensemble.runs if has_examples(run, arm, first, second)]
    if not found:
        raise TraceError(f"no run has recorded {_words(first)} and {_words(second)} for the examples of {arm}")
    places = [np.asarray(getattr(pairs, along), dtype=float) for pairs in found]
    reduced = [reduce(pairs) for pairs in found]
    stacked = [
        on_common_grid([(x, rows[row]) for x, rows in zip(places, reduced, strict=True)], arm)
        for row in range(len(reduced[0]))
    ]
    return tuple(Series(x, values, X_LABELS[along], found[0].first_label, "1") for x, values in stacked)


def has_examples(run: Run, arm: str, *sources: Source) -> bool:
    """Whether this run started the arm and has each of these numbers for its examples."""
    if arm not in run or not run[arm].started:
        return False
    return all(_recorded(run, run[arm], source) is not None for source in sources)


def locate_examples(ensemble: Ensemble, component: str, channel: str, label: str | None = None) -> Source:
    """Where a channel (step, example) was recorded: by the probe `label`, or else the first one of `component`, or
    else the first of any. Raises `TraceError` that says what was recorded by example.
    """
    started = [one for arm in ensemble.arms for one in ensemble.started(arm)]
    probes = {probe.label: probe for one in started for probe in one.probes.values() if len(probe.step)}
    fit = [probe for probe in probes.values() if channel in probe and probe[channel].dims == BY_EXAMPLE]
    fit.sort(key=lambda probe: probe.component != component)
    found = next((probe.label for probe in fit if label in (None, probe.label)), None)
    if found is None:
        who = "no probe" if label is None else f"no probe {label!r}"
        known = "; ".join(filter(None, map(_by_example, probes.values())))
        advice = f"; add the probe {component}" if component else ""
        raise TraceError(f"{who} recorded {channel} by example (recorded by example: {known or 'nothing'}){advice}")
    return Source(found, channel)


def _by_example(probe: ProbeTrace) -> str:
    names = [name for name in probe if probe[name].dims == BY_EXAMPLE]
    return f"{probe.label}: {', '.join(names)}" if names else ""


def _required(run: Run, arm: Arm, source: Source) -> ChannelTrace:
    found = _recorded(run, arm, source)
    if found is None:
        raise TraceError(f"the run {run.name!r} has not recorded {_words(source)} in {arm.name}")
    if found.dims != BY_EXAMPLE:
        raise TraceError(f"{_words(source)} is no number by example: its dimensions are {', '.join(found.dims)}")
    return found


def _recorded(run: Run, arm: Arm, source: Source) -> ChannelTrace | None:
    """The channel in this arm; or in the nearest one that it descends from, if that has a single row."""
    own: Arm | None = arm
    while own is not None:
        if source.probe in own and source.channel in own[source.probe] and len(own[source.probe].step):
            found = own[source.probe][source.channel]
            return found if own is arm or len(found.step) == 1 else None
        own = run.arms.get(own.parent) if own.parent else None
    return None


def _common_rows(one: ChannelTrace, other: ChannelTrace) -> tuple[ChannelTrace, tuple[np.ndarray, ...]]:
    """The channel whose rows are the moments, and the rows of one, of the other and of that channel."""
    if len(other.step) == 1 or len(one.step) == 1:
        leading = one if len(other.step) == 1 else other
        rows = np.arange(len(leading.step))
        once = np.zeros_like(rows)
        return leading, (rows if leading is one else once, once if leading is one else rows, rows)
    _, rows, others = np.intersect1d(one.step, other.step, assume_unique=True, return_indices=True)
    return one, (rows, others, rows)


def _labels(channel: ChannelTrace) -> np.ndarray:
    return np.asarray(channel.labels["example"])


def _words(source: Source) -> str:
    return f"{source.probe}/{source.channel}"
