"""A claim of your own, for `claims: [my_claim]`."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from studyrun.plugin import Claim, Ensemble, Field, Verdict, bootstrap_interval


class MyClaim(Claim):
    """An arm's training loss ends below a share of what it began with.

    The statistic is L(last)/L(first), its median over the runs with a bootstrap interval. With several runs the whole
    interval has to lie below the share.
    """

    arm: str = "baseline"
    """Which arm."""
    share: Annotated[float, Field(gt=0)] = 1.0
    """The share that has to be undercut."""
    probe: str | None = None
    """The label of the probe; null takes the first one that records a training loss."""

    def decide(self, ensemble: Ensemble) -> Verdict:
        """Decide over all runs of the ensemble in which the arm started; None stands for what cannot be decided."""
        if not ensemble.started(self.arm):
            return Verdict(None, None, None, f"cannot be decided: no run has an arm {self.arm!r} that started", 0)
        probe = ensemble.locate("loss", "train", label=self.probe)
        losses = [arm[probe]["train"].values for arm in ensemble.started(self.arm)]
        ratios = [float(loss[-1] / loss[0]) for loss in losses]
        median, (low, high) = float(np.median(ratios)), bootstrap_interval(ratios)
        runs = f"the median of {len(ratios)} runs" if len(ratios) > 1 else "one run"
        sentence = f"the training loss of {self.arm} ends at {median:.4g} of its first value ({runs})"
        return Verdict(high < self.share, median, (low, high) if len(ratios) > 1 else None, sentence, len(ratios))
