"""Stochastic gradient descent on mini-batches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import torch

from studyrun.plugin import Field, Optimizer, Threshold, curvature, model_validator

if TYPE_CHECKING:
    from torch import nn


class Sgd(Optimizer):
    """Stochastic gradient descent on mini-batches drawn without replacement, a fresh order each epoch.

    v ← βv + (1 − d)g, θ ← θ − ηv with g the mini-batch gradient plus w·θ. On mini-batches the edge is that of the
    batch sharpness, not of the sharpness of the full loss.

    Source: Andreyev and Beneventano 2024, arXiv 2412.20553.
    """

    lr: Annotated[float, Field(gt=0)]
    """Learning rate η."""
    batch_size: Annotated[int, Field(ge=1)] = 128
    """Examples per step; the last batch of an epoch may be smaller."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Momentum β."""
    nesterov: bool = False
    """Nesterov's look-ahead; needs momentum and no dampening."""
    dampening: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each gradient kept out of the momentum buffer."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """L2 coefficient w, added to the gradient as w·θ."""

    @model_validator(mode="after")
    def _nesterov_fits(self) -> Sgd:
        if self.nesterov and (not self.momentum or self.dampening):
            raise ValueError("nesterov needs momentum > 0 and dampening 0")
        return self

    @property
    def examples_per_step(self) -> int:
        return self.batch_size

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            parameters,
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            dampening=self.dampening,
            weight_decay=self.weight_decay,
        )

    def threshold(self) -> Threshold:
        edge = curvature.momentum_threshold(
            self.lr,
            self.momentum,
            nesterov=self.nesterov,
            dampening=self.dampening if self.momentum else 0.0,
            weight_decay=self.weight_decay,
        )
        return Threshold(edge, "batch_sharpness")
