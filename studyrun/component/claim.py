"""Assertions about a study, and how they are decided."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from studyrun.component.options import Component

if TYPE_CHECKING:
    import numpy as np

    from studyrun.trace.ensemble import Ensemble


@dataclass(frozen=True, slots=True)
class Verdict:
    """A claim decided: does it hold (None: undecidable), its statistic, an interval, in words, over how many runs."""

    holds: bool | None
    statistic: float | None
    interval: tuple[float, float] | None
    sentence: str
    runs: int

    @classmethod
    def undecided(cls, reason: str) -> Verdict:
        """A claim that the traces do not let decide, and why."""
        return cls(None, None, None, f"cannot be decided: {reason}", 0)

    @classmethod
    def on_sign(
        cls, numbers: Sequence[np.ndarray], what: str, places: Sequence[str], *, positive: bool = True
    ) -> Verdict:
        """Decide whether numbers have one sign at every place: `numbers` holds (places,) for each run.

        The statistic is the median over runs, of several places at the one that speaks least for the claim. Of several
        runs its bootstrap interval has to exclude zero; a lone run has none, and the sentence says that it is one. A
        run that is NaN at a place does not count there; where all are, nothing can be decided.
        """
        from statistics import median

        from studyrun.trace.series import bootstrap_interval

        columns = [[float(value) for value in column if value == value] for column in zip(*numbers, strict=True)]
        if not columns or not all(columns):
            return cls(None, None, None, f"{what}: cannot be decided, no run has a number there", 0)
        found = [f"{median(column):+.4g}".replace("-", "−") for column in columns]
        words = ", ".join(f"{number} {place}" for number, place in zip(found, places, strict=True))
        side = 1 if positive else -1
        weakest = min(columns, key=lambda column: min(side * end for end in bootstrap_interval(column)))
        ends, runs = bootstrap_interval(weakest), len(weakest)
        over = "one run" if runs == 1 else f"medians of {runs} runs"
        lacking = f"; {len(numbers) - runs} without a number there" if runs < len(numbers) else ""
        sentence = f"{what}: {words} ({over}{lacking})"
        return cls(min(side * end for end in ends) > 0, median(weakest), ends if runs > 1 else None, sentence, runs)


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
