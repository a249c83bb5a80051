"""Full-batch gradient descent, the optimizer of the edge of stability."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import torch

from studyrun.plugin import Field, Optimizer, Threshold, curvature, model_validator

if TYPE_CHECKING:
    from torch import nn


class Gd(Optimizer):
    """Full-batch gradient descent, with heavy-ball or Nesterov momentum if asked.

    v ← βv + ∇L, θ ← θ − ηv. Its edge of stability is 2/η, (2 + 2β)/η with heavy ball, (2 + 2β)/(η(1 + 2β)) with
    Nesterov.

    Source: Cohen et al. 2021, arXiv 2103.00065.
    """

    lr: Annotated[float, Field(gt=0)]
    """Learning rate η."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Momentum β."""
    nesterov: bool = False
    """Nesterov's look-ahead; needs momentum."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Gd:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs momentum > 0")
        return self

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov)

    def threshold(self) -> Threshold:
        return Threshold(curvature.momentum_threshold(self.lr, self.momentum, nesterov=self.nesterov))
