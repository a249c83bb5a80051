"""Two numbers of the examples go together, or do not."""

from __future__ import annotations

from math import isnan, nan
from typing import Annotated, Literal

import numpy as np

from studyrun.plugin import (
    Claim,
    Ensemble,
    Field,
    Run,
    Verdict,
    correlation,
    edge,
    model_validator,
)

Rho = correlation.RankCorrelation
NO_RHO = Rho(nan, nan, nan, 0)


class Correlation(Claim):
    """Spearman's ρ of two numbers of each example is positive, negative, near zero, or larger than at another moment.

    ρ at a moment, or its mean, maximum or minimum over the rows of a window, between two channels (step, example) of
    one arm: at equal steps, or against what was recorded once. The statistic is the median of ρ over runs, whose
    interval has to lie above zero, below it, or within ± margin; for `larger` that of ρ − ρ(than), above zero (see
    `Verdict.on_median`). It takes six runs, and a run without a ρ counts against the claim.

    A lone run is seen once, and decided by another interval: that of ρ over its examples (Bonett and Wright 2000). It
    knows nothing of other seeds. It is that of the row where ρ is largest or smallest, as if that row had not been
    chosen; for a mean the means of both ends, which is safe however the rows depend on one another; for `larger` it
    goes from end to far end, safe for the same reason.
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
        found = [self._of(run, *sources) for run in ensemble.runs]
        what = f"Spearman ρ of {self.channel} and {self.against} in {self.arm}, {self._when(ensemble)}"
        if all(isnan(one.rho) for one in found):
            return Verdict(None, None, None, f"{what}: cannot be decided, no run has a ρ there", 0)
        return self._verdict(what, found)

    def _sources(self, ensemble: Ensemble) -> tuple[correlation.Source, correlation.Source]:
        return (
            correlation.locate_examples(ensemble, "", self.channel, self.probe),
            correlation.locate_examples(ensemble, "", self.against, self.against_probe),
        )

    def _of(self, run: Run, channel: correlation.Source, against: correlation.Source) -> Rho:
        """ρ of one run, or what it has more than at `than`; NaN where the run lacks the examples or a moment."""
        if not correlation.has_examples(run, self.arm, channel, against):
            return NO_RHO
        pairs = correlation.pair_examples(run, self.arm, channel, against)
        rho = self._at(run, pairs, self.at) if self.at is not None else self._over(run, pairs)
        if self.than is None:
            return rho
        than = self._at(run, pairs, self.than)
        return Rho(rho.rho - than.rho, rho.low - than.high, rho.high - than.low, min(rho.pairs, than.pairs))

    def _at(self, run: Run, pairs: correlation.Pairs, when: edge.When) -> Rho:
        row = edge.row_at(run, self.arm, when, pairs)
        return NO_RHO if row is None else pairs.correlation(row)

    def _over(self, run: Run, pairs: correlation.Pairs) -> Rho:
        rows = edge.rows_between(run, self.arm, *self.window, pairs)
        each = [rho for rho in (pairs.correlation(int(row)) for row in rows) if not isnan(rho.rho)]
        if not each:
            return NO_RHO
        if self.take == "mean":
            rho, low, high, _ = np.mean(each, axis=0)
            return Rho(float(rho), float(low), float(high), min(one.pairs for one in each))
        return (max if self.take == "maximum" else min)(each, key=lambda one: one.rho)

    def _verdict(self, what: str, found: list[Rho]) -> Verdict:
        if len(found) > 1:
            numbers = [one.rho for one in found]
            words = _three_digits
            return Verdict.on_median(numbers, self._within, lambda rho, runs: f"{what}: {rho} ({runs})", number=words)
        rho, low, high, pairs = found[0]
        seen = self._within(low) and self._within(high)
        ends = f"{_three_digits(low)} to {_three_digits(high)}"
        text = f"{what}: {_three_digits(rho)}, 95 % interval over its {pairs} examples {ends} (one run"
        return Verdict(seen, rho, None, f"{text}: seen once)" if seen else f"{text})", 1)

    def _within(self, rho: float) -> bool:
        """Whether this is what is claimed of ρ."""
        if self.claimed == "near_zero":
            return abs(rho) < self.margin
        return rho < 0 if self.claimed == "negative" else rho > 0

    def _when(self, ensemble: Ensemble) -> str:
        symbol = "t**" if ensemble.parents.get(self.arm) else "t*"
        if self.at is not None:
            words = f"at {edge.moment_words(self.at, symbol)}"
        else:
            start, end = (edge.moment_words(when, symbol) for when in self.window)
            words = f"{'on average' if self.take == 'mean' else f'its {self.take}'} from {start} to {end}"
        return words if self.than is None else f"{words}, minus that at {edge.moment_words(self.than, symbol)}"


def _three_digits(rho: float) -> str:
    return f"{rho:+.3f}".replace("-", "−").replace("inf", "∞")
