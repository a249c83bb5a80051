"""Two numbers of the examples go together, or do not."""

from __future__ import annotations

from math import isnan
from statistics import median
from typing import Annotated, Literal

import numpy as np

from studyrun.plugin import (
    Claim,
    Ensemble,
    Field,
    Run,
    Verdict,
    bootstrap_interval,
    correlation,
    edge,
    model_validator,
)

Rho = correlation.RankCorrelation


class Correlation(Claim):
    """Spearman's ρ of two numbers of each example is positive, negative, near zero, or larger than at another moment.

    ρ at a moment, or its mean, maximum or minimum over the rows of a window, between two channels (step, example) of
    one arm: at equal steps, or against what was recorded once. The statistic is ρ, of several runs its median with the
    bootstrap interval over runs. A lone run is decided by the interval of ρ over its examples (Bonett and Wright 2000):
    that of the row where ρ is largest or smallest, as if that row had not been chosen; for a mean the means of both
    ends, which is safe however the rows depend on one another. The interval has to lie above zero, below it, or within
    ± margin. For `larger` it is that of ρ − ρ(than), of a lone run from end to far end, safe for the same reason.
    """

    channel: str
    """The channel, such as cos2."""
    against: str = "distance"
    """The channel that it is held against."""
    claimed: Literal["positive", "negative", "near_zero", "larger"]
    """What is claimed of ρ; `larger` than at the moment `than`."""
    arm: str = "baseline"
    """In which arm."""
    at: edge.When | None = None
    """The moment: `start`, `midway` to the arm's onset t*, `onset`, `end`, a step, or a share as in {before: 0.5} or
    {after: 0.25}; null takes the window."""
    window: tuple[edge.When, edge.When] = ("start", "end")
    """From which moment to which, both included, where `at` is null."""
    take: Literal["mean", "maximum", "minimum"] = "mean"
    """What is taken of the rows in the window."""
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """How near to zero `near_zero` is."""
    than: edge.When | None = None
    """The moment whose ρ is claimed to be smaller, for `larger`."""
    probe: str | None = None
    """The label of the probe; null takes the first one that recorded the channel by example."""
    against_probe: str | None = None
    """The label of the probe of the other channel; null takes the first one that recorded it by example."""

    @model_validator(mode="after")
    def _than_goes_with_larger(self) -> Correlation:
        if (self.claimed == "larger") != (self.than is not None):
            raise ValueError("`than` goes with `claimed: larger`: give both, or neither")
        return self

    def decide(self, ensemble: Ensemble) -> Verdict:
        sources = self._sources(ensemble)
        runs = [run for run in ensemble.runs if correlation.has_examples(run, self.arm, *sources)]
        found = [self._of(run, *sources) for run in runs]
        known = [one for one in found if one is not None and not isnan(one.rho)]
        what = f"Spearman ρ of {self.channel} and {self.against} in {self.arm}, {self._when(ensemble)}"
        if not known:
            return Verdict(None, None, None, f"{what}: cannot be decided, no run has a ρ there", 0)
        return self._verdict(what, known)

    def _sources(self, ensemble: Ensemble) -> tuple[correlation.Source, correlation.Source]:
        return (
            correlation.locate_examples(ensemble, "", self.channel, self.probe),
            correlation.locate_examples(ensemble, "", self.against, self.against_probe),
        )

    def _of(self, run: Run, channel: correlation.Source, against: correlation.Source) -> Rho | None:
        """ρ of one run, or what it has more than at `than`; None where the run lacks a moment."""
        pairs = correlation.pair_examples(run, self.arm, channel, against)
        rho = self._at(run, pairs, self.at) if self.at is not None else self._over(run, pairs)
        if self.than is None or rho is None:
            return rho
        than = self._at(run, pairs, self.than)
        if than is None:
            return None
        return Rho(rho.rho - than.rho, rho.low - than.high, rho.high - than.low, min(rho.pairs, than.pairs))

    def _at(self, run: Run, pairs: correlation.Pairs, when: edge.When) -> Rho | None:
        row = edge.row_at(run, self.arm, when, pairs)
        return None if row is None else pairs.correlation(row)

    def _over(self, run: Run, pairs: correlation.Pairs) -> Rho | None:
        rows = edge.rows_between(run, self.arm, *self.window, pairs)
        each = [rho for rho in (pairs.correlation(int(row)) for row in rows) if not isnan(rho.rho)]
        if not each:
            return None
        if self.take == "mean":
            rho, low, high, _ = np.mean(each, axis=0)
            return Rho(float(rho), float(low), float(high), min(one.pairs for one in each))
        return (max if self.take == "maximum" else min)(each, key=lambda one: one.rho)

    def _verdict(self, what: str, known: list[Rho]) -> Verdict:
        statistic = median(one.rho for one in known)
        lone = len(known) == 1
        low, high = known[0][1:3] if lone else bootstrap_interval([one.rho for one in known])
        holds = {
            "positive": low > 0,
            "negative": high < 0,
            "near_zero": -self.margin < low and high < self.margin,
            "larger": low > 0,
        }[self.claimed]
        over = f"over the {known[0].pairs} examples of one run" if lone else f"over {len(known)} runs"
        numbers = f"{statistic:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}".replace("-", "−")
        sentence = f"{what}: {'' if lone else 'median '}{numbers} {over}"
        return Verdict(holds, statistic, (low, high), sentence, len(known))

    def _when(self, ensemble: Ensemble) -> str:
        symbol = "t**" if ensemble.parents.get(self.arm) else "t*"
        if self.at is not None:
            words = f"at {edge.moment_words(self.at, symbol)}"
        else:
            start, end = (edge.moment_words(when, symbol) for when in self.window)
            words = f"{'on average' if self.take == 'mean' else f'its {self.take}'} from {start} to {end}"
        return words if self.than is None else f"{words}, minus that at {edge.moment_words(self.than, symbol)}"
