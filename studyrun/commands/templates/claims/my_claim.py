"""A claim of your own, for `claims: [my_claim]`."""

from __future__ import annotations

from typing import Annotated

from studyrun.plugin import Claim, Ensemble, Field, Run, Verdict, for_run


class MyClaim(Claim):
    """An arm's training loss ends below a share of what it began with.

    The statistic is the median over runs of L(last)/L(first). Its whole interval has to lie below the share, which
    takes six runs; a lone run is seen once.
    """

    arm: str = "baseline"
    """Which arm."""
    share: Annotated[float, Field(gt=0)] = 1.0
    """The share that has to be undercut."""
    probe: str | None = None
    """The label of the probe; null takes the first one that records a training loss."""

    def decide(self, ensemble: Ensemble) -> Verdict:
        """Decide over all runs of the ensemble; one without a loss of the arm is NaN, and counts against the claim."""
        if not ensemble.started(self.arm):
            return Verdict.undecided(f"no run has an arm {self.arm!r} that started")
        probe = ensemble.locate("loss", "train", label=self.probe)
        return Verdict.on_median(
            [self._ratio(run, probe) for run in ensemble.runs],
            lambda ratio: ratio < self.share,
            lambda median, runs: f"the training loss of {self.arm} ends at {median} of its first value ({runs})",
        )

    def _ratio(self, run: Run, probe: str) -> float:
        if self.arm not in for_run(run).recording(probe, "train"):
            return float("nan")
        loss = run[self.arm][probe]["train"].values
        return float(loss[-1] / loss[0])
