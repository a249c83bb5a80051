"""Assertions about a study, and how they are decided."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING

from studyrun.component.options import Component

if TYPE_CHECKING:
    import numpy as np

    from studyrun.trace.ensemble import Ensemble


@dataclass(frozen=True, slots=True)
class Verdict:
    """A claim decided: does it hold (None: undecidable), its statistic, an interval, in words, over how many runs.

    `coverage` is how often such an interval holds the median that it is for. What one run shows is not known of others:
    there `holds` is what was seen, and `word` says that it was seen once.
    """

    holds: bool | None
    statistic: float | None
    interval: tuple[float, float] | None
    sentence: str
    runs: int
    coverage: float | None = None

    @property
    def word(self) -> str:
        """The verdict in a word or two: holds, seen once, does not hold, undecided."""
        if self.holds is None:
            return "undecided"
        if not self.holds:
            return "does not hold"
        return "seen once" if self.runs == 1 else "holds"

    @classmethod
    def undecided(cls, reason: str) -> Verdict:
        """A claim that the traces do not let decide, and why."""
        return cls(None, None, None, f"cannot be decided: {reason}", 0)

    @classmethod
    def on_median(
        cls,
        numbers: Sequence[float],
        within: Callable[[float], bool],
        sentence: Callable[[str, str], str],
        *,
        number: Callable[[float], str] | None = None,
    ) -> Verdict:
        """Decide whether the median over runs lies where `within` says yes: one stretch, such as all that is above 0.

        `numbers` holds one for each run, NaN for a run that has none, which counts against the claim. Of several runs
        the whole interval for the median has to lie there (`studyrun.plugin.median_interval`); where these are too few
        to have one, nothing is decided. A lone run is decided by its number, and said to be one.

        `sentence` makes the words, out of those for the median and those for the runs; `number` those for a number.
        """
        from studyrun.trace.median import OverRuns, four_digits

        number, over = number or four_digits, OverRuns.of(numbers)
        holds, middle, ends = over.lie(within), over.median, over.interval
        if not over.known:
            return cls.undecided("no run has a number there")
        runs = over.words(number) + (": seen once" if holds and len(numbers) == 1 else "")
        text = sentence(number(middle), runs)
        if ends is None:
            return cls(holds, middle, None, text, len(numbers))
        return cls(holds, middle, (ends.low, ends.high), text, len(numbers), ends.coverage)

    @classmethod
    def on_sign(
        cls, numbers: Sequence[np.ndarray], what: str, places: Sequence[str], *, positive: bool = True
    ) -> Verdict:
        """Decide whether numbers have one sign at every place: `numbers` holds (places,) for each run.

        Of several places each run counts with the one that speaks least for the claim, and with none if it is NaN at
        one of them. The statistic is the median of these over runs, decided as in `on_median`.
        """
        from studyrun.trace.median import OverRuns, signed

        side = 1 if positive else -1
        weakest = [side * _least([side * float(number) for number in row]) for row in numbers]
        if all(map(isnan, weakest)):
            return cls(None, None, None, f"{what}: cannot be decided, no run has a number there", 0)
        medians = (OverRuns.of(column).median for column in zip(*numbers, strict=True))
        found = ", ".join(f"{signed(number)} {place}" for number, place in zip(medians, places, strict=True))

        def sentence(middle: str, runs: str) -> str:
            several = len(places) > 1 and len(numbers) > 1
            return f"{what}: {found}{f'; at the weakest place of each run {middle}' if several else ''} ({runs})"

        return cls.on_median(weakest, lambda number: side * number > 0, sentence, number=signed)


def _least(numbers: Sequence[float]) -> float:
    """The smallest number; NaN if one is."""
    return float("nan") if any(map(isnan, numbers)) else min(numbers)


class Claim(Component):
    """An assertion about a study, decided from its traces alone."""

    @abstractmethod
    def decide(self, ensemble: Ensemble) -> Verdict:
        """Decide the claim over all runs of the ensemble."""


class ComparingClaim(Claim):
    """An assertion about the conditions of a sweep against one another."""

    @abstractmethod
    def decide_all(self, ensembles: Sequence[Ensemble]) -> Verdict:
        """Decide the claim; each ensemble holds the runs of one condition and has a name for it."""

    def decide(self, ensemble: Ensemble) -> Verdict:
        """Decide the claim on a lone condition."""
        return self.decide_all((ensemble,))
