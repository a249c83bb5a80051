"""The median over runs, and what so few of them can say of it: its interval, exactly, or that it takes more."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf, isnan, nan
from statistics import median
from typing import NamedTuple

LEVEL = 0.95


class MedianInterval(NamedTuple):
    """From where to where, and how often such an interval holds the median of what the runs are drawn from."""

    low: float
    high: float
    coverage: float


def median_interval(values: Iterable[float], level: float = LEVEL) -> MedianInterval | None:
    """The narrowest interval between order statistics that holds the median in at least `level` of all cases.

    Of n values it goes from the k-th smallest to the k-th largest and has the coverage 1 − 2 P(B < k), where B is how
    often n tosses of a coin show heads. That is exact for any continuous distribution, and the least for any other.
    None where even the smallest and the largest do not reach the level, since n < `runs_needed(level)`. A value that is
    NaN may be anything: it counts as −∞ for the lower end and as ∞ for the upper one.
    """
    given = [float(value) for value in values]
    found = _rank(len(given), level)
    if found is None:
        return None
    k, coverage = found
    low, high = (sorted(worst if isnan(value) else value for value in given) for worst in (-inf, inf))
    return MedianInterval(low[k - 1], high[-k], coverage)


def runs_needed(level: float = LEVEL) -> int:
    """The least number of values for which `median_interval` has this level: 6 for 95 %."""
    return next(count for count in range(2, 1100) if _rank(count, level) is not None)


def _rank(count: int, level: float) -> tuple[int, float] | None:
    """The largest k whose interval reaches the level, and its coverage."""
    found, below, ways = None, 0, 1  # of 2^count equally likely sides, those with fewer than k values on one
    for k in range(1, count // 2 + 1):
        below += ways
        coverage = 1 - 2 * below / 2**count
        if coverage < level:
            break
        found, ways = (k, coverage), ways * (count - k + 1) // k
    return found


def four_digits(value: float) -> str:
    """A number in a sentence."""
    return f"{value:.4g}".replace("-", "−").replace("inf", "∞")


def signed(value: float) -> str:
    """A number in a sentence, with its sign."""
    return f"{value:+.4g}".replace("-", "−").replace("inf", "∞")


@dataclass(frozen=True)
class OverRuns:
    """One number for each run, NaN where a run has none: their median, and what can be said of it."""

    numbers: tuple[float, ...]

    @classmethod
    def of(cls, numbers: Iterable[float]) -> OverRuns:
        """From any numbers."""
        return cls(tuple(map(float, numbers)))

    @property
    def known(self) -> list[float]:
        """The numbers of the runs that have one."""
        return [number for number in self.numbers if not isnan(number)]

    @property
    def median(self) -> float:
        """The median of the runs that have a number; NaN where none has."""
        return median(self.known) if self.known else nan

    @property
    def interval(self) -> MedianInterval | None:
        """The 95 % interval for the median, in which a run without a number counts as the worst; None of too few."""
        return median_interval(self.numbers)

    def lie(self, within: Callable[[float], bool]) -> bool | None:
        """Whether the median lies where `within` says yes, which has to be one stretch without a gap.

        Both ends of the interval decide, of a lone run its number. None where there are too few runs, or no number.
        """
        if not self.known:
            return None
        if len(self.numbers) == 1:
            return bool(within(self.known[0]))
        ends = self.interval
        return None if ends is None else bool(within(ends.low) and within(ends.high))

    def words(self, number: Callable[[float], str] = four_digits) -> str:
        """Of how many runs the median is, its interval or how many runs that takes, and how many have no number."""
        count, known = len(self.numbers), len(self.known)
        text = "one run" if known == 1 else f"median of {known} runs"
        if count == 1:
            return text
        text += self.certainty(number)
        if known < count:
            text += f"; {count - known} of {count} runs {'has' if known == count - 1 else 'have'} no number there"
        return text

    def certainty(self, number: Callable[[float], str] = four_digits) -> str:
        """What follows upon the median in a sentence: its interval, or how many runs that takes."""
        ends = self.interval
        if ends is None:
            return f"; too few runs to say: {len(self.numbers)} of at least {runs_needed()}"
        return f", {100 * ends.coverage:.1f} % interval {number(ends.low)} to {number(ends.high)}"
