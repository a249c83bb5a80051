from __future__ import annotations

from studyrun.plugin import Claim, Ensemble, Verdict


class Holds(Claim):
    """Holds, or does not."""

    above: float = 0.0

    def decide(self, ensemble: Ensemble) -> Verdict:
        raise NotImplementedError
