"""A worked example: a probe that remembers the step before, through its carry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from studyrun.plugin import Carry, Channel, Context, Probe, Reading, Snapshot


class RisingShare(Probe):
    """Share of the training examples whose loss rose since this probe's last measurement.

    (1/n) Σ_i 1[ℓ_i(θ_t) > ℓ_i(θ_s)] with s the step of the last measurement: measure at every step for the change of
    one step. NaN at the first measurement. Its carry is the n losses. Cost: none beyond the training pass under
    full-batch optimizers, one forward pass otherwise.

    Source: Rosenfeld and Risteski 2023, arXiv 2311.04163, Figure 36.
    """

    cites: ClassVar[tuple[str, ...]] = ("arXiv:2311.04163",)
    figures: ClassVar[tuple[str, ...]] = ("rising_share",)

    def channels(self, context: Context) -> Sequence[Channel]:
        first = "the first measurement has none before it"
        return [
            Channel("share", "examples whose loss rose", (), "share of ℓ_i rising", nan=first),
            Channel("rise", "mean loss change of the rising examples", (), "⟨Δℓ_i⟩₊", context.loss.units, nan=first),
            Channel("fall", "mean loss change of the falling examples", (), "⟨Δℓ_i⟩₋", context.loss.units, nan=first),
        ]

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        losses = snapshot.losses("train").double().clone()
        before = carry if carry is not None else torch.full_like(losses, torch.nan)
        change = losses - before
        reading = {
            "share": (change > 0).double().mean() if carry is not None else torch.nan,
            "rise": change[change > 0].mean(),
            "fall": change[change < 0].mean(),
        }
        return reading, losses
