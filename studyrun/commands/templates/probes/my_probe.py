"""A probe of your own, for `probes: [my_probe]`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from studyrun.plugin import Carry, Channel, Context, Probe, Reading, Snapshot


class MyProbe(Probe):
    """The largest entry of the training gradient, and how much it moved since the last measurement.

    ‖∇L(θ)‖_∞ = max_j |∂L/∂θ_j|, and the difference to the value before it (NaN at the first measurement). Unit: loss
    per parameter. Cost: nothing under full-batch optimizers, one gradient evaluation under others.
    """

    cites: ClassVar[tuple[str, ...]] = ()

    def channels(self, context: Context) -> Sequence[Channel]:
        """Declare what is recorded: name, words for the axis, dimensions, symbol and unit."""
        units = "loss / parameter"
        return [
            Channel("largest", "largest entry of the training gradient", (), "‖∇L‖_∞", units),
            Channel("change", "its change since the last measurement", (), units=units, nan="the first measurement"),
        ]

    def start(self, context: Context) -> Carry:
        """Return what the first measurement is handed. What a probe remembers travels in the carry, never in it."""
        return float("nan")

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        """Return the reading at this step, and the carry for the next measurement."""
        largest = float(snapshot.gradient.abs().max())
        return {"largest": largest, "change": largest - carry}, largest
