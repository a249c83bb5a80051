"""An optimizer of your own, for `optimizer: {use: my_optimizer, lr: 0.1}`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import torch

from studyrun.plugin import Field, Optimizer, Threshold

if TYPE_CHECKING:
    from torch import nn


class MyOptimizer(Optimizer):
    """Full-batch gradient descent with weight decay.

    θ ← (1 − ηγ)θ − η∇L. On a quadratic of curvature h the iterate is multiplied by 1 − η(h + γ), so that the edge of
    stability lies at 2/η − γ.
    """

    lr: Annotated[float, Field(gt=0)]
    """Learning rate η."""
    decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay γ."""

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return torch's own optimizer with these options."""
        return torch.optim.SGD(parameters, lr=self.lr, weight_decay=self.decay)

    def threshold(self) -> Threshold:
        """Return the sharpness beyond which this optimizer is unstable."""
        return Threshold(2 / self.lr - self.decay)
