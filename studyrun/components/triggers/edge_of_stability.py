"""The moment at which curvature reaches the optimizer's own threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Annotated, Any

from studyrun.plugin import Carry, Channel, ComponentError, Context, Field, Firing, Moment, Trigger


class EdgeOfStability(Trigger):
    """Fires at t*, the first measured step at which curvature reaches the optimizer's own threshold.

    S(θ) ≥ 2/η for gradient descent; momentum, Nesterov and Adam have their own thresholds, and Adam's is one of the
    preconditioned sharpness. Values whose solver did not converge, or that are no numbers, are passed over. Once the
    iterate swings across the valley, curvature differs from one step to the next: measured at an even cadence, t* may
    be found late.

    Source: Kwag et al. 2026, arXiv 2606.04212, Section 3; Cohen et al. 2021, arXiv 2103.00065.
    """

    after_step: Annotated[int, Field(ge=0)] = 50
    """Only later than this step: early curvature may start above the threshold and fall."""
    factor: Annotated[float, Field(gt=0)] = 1.0
    """Fire at this multiple of the threshold."""
    probe: str | None = None
    """The label of the probe that records the curvature; null finds it by what its channel says it is."""

    def watches(self) -> Sequence[str]:
        return () if self.probe is None else (self.probe,)

    def check_context(self, context: Context, channels: Mapping[str, Mapping[str, Channel]]) -> None:
        self._find(context, channels)

    def _find(self, context: Context, channels: Mapping[str, Mapping[str, Channel]]) -> tuple[str, str]:
        """The probe's label and the channel that records the curvature this optimizer's threshold is about."""
        edge = context.optimizer.threshold()
        if edge is None:
            raise ComponentError("trigger edge_of_stability: no threshold is known for this optimizer; use `threshold`")
        for label in channels if self.probe is None else (self.probe,):
            for name, channel in channels[label].items():
                if channel.standard_name == edge.quantity:
                    return label, name
        raise ComponentError(
            f"trigger edge_of_stability: this optimizer's threshold {edge.value:.6g} is one of the {edge.quantity}, "
            f"which {'no probe' if self.probe is None else f'probe {self.probe!r}'} of the study records"
        )

    def check(self, moment: Moment, carry: Carry) -> tuple[Firing | None, Carry]:
        label, name = self._find(moment.context, {label: moment.channels(label) for label in moment.labels})
        reading = moment.reading(label)
        edge = moment.context.optimizer.threshold()
        if reading is None or edge is None or moment.step <= self.after_step or not self._converged(reading):
            return None, carry
        value, level = float(reading[name].flat[0]), self.factor * edge.value
        if not isfinite(value):
            return None, carry
        highest = max(value, float(carry or 0.0))
        reason = f"{edge.quantity} {value:.6g} ≥ {level:.6g} at step {moment.step}"
        return (Firing(value, level, reason, edge.quantity) if value >= level else None), highest

    @staticmethod
    def _converged(reading: Mapping[str, Any]) -> bool:
        return "converged" not in reading or bool(reading["converged"].flat[0])

    def unfired(self, carry: Carry) -> str:
        if carry is None:
            return f"no converged curvature was recorded after step {self.after_step}"
        return f"the highest curvature recorded after step {self.after_step} was {carry:.6g}"
