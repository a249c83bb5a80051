"""A model of your own, for `model: my_model`."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Annotated

import torch
from torch import nn
from torch.nn import functional

from studyrun.plugin import Field, Model

if TYPE_CHECKING:
    from torch import Tensor


class MyModel(Model):
    """A linear map of the flattened inputs, with or without a bias.

    x ↦ Wx + b, the entries of W normal with deviation scale/√(inputs), b zero.
    """

    scale: Annotated[float, Field(ge=0)] = 1.0
    """The deviation of the weights, in units of 1/√(inputs)."""
    bias: bool = True
    """Whether there is a bias."""

    def build(self, example_shape: tuple[int, ...], outputs: int, init: torch.Generator) -> nn.Module:
        """Return the module in float64; random numbers come from `init`, so that one seed names one model."""
        inputs = prod(example_shape)
        # Torch's own layers would do as well: the global generator that they draw from is seeded for this purpose.
        weight = torch.empty(outputs, inputs, dtype=torch.float64).normal_(0, self.scale / inputs**0.5, generator=init)
        return _Affine(weight, torch.zeros(outputs, dtype=torch.float64) if self.bias else None)


class _Affine(nn.Module):
    """x ↦ Wx + b of the flattened inputs."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias) if bias is not None else None

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs (n, o) on `inputs` (n, ...)."""
        return functional.linear(inputs.flatten(1), self.weight, self.bias)
