"""The loss of each training example."""

from __future__ import annotations

from collections.abc import Sequence

from studyrun.plugin import Carry, Channel, Context, Dimension, Probe, Reading, Snapshot


class PerExampleLoss(Probe):
    """Loss of every training example, in the data set's order.

    ℓ_i(θ), recorded in single precision: 4 n bytes a step. Free under full-batch optimizers, otherwise one forward
    pass.

    Source: Rosenfeld and Risteski 2023, arXiv 2311.04163, Section 2.
    """

    def channels(self, context: Context) -> Sequence[Channel]:
        dims = (Dimension.of_size("example", len(context.data.train)),)
        return [Channel("loss", "loss of the example", dims, "ℓ_i", context.loss.units, dtype="float32")]

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        return {"loss": snapshot.losses("train")}, carry
