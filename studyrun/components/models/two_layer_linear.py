"""The two-layer linear model of opposing signals, for `model: {use: two_layer_linear}`."""

from __future__ import annotations

from math import prod, sqrt
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from torch import nn

from studyrun.plugin import ComponentError, Field, Model

if TYPE_CHECKING:
    from torch import Tensor


class TwoLayerLinear(Model):
    """A two-layer linear model of one output, f(x, x_o) = c·(bᵀx + b_oᵀx_o).

    An input's first `signal` entries are x (d1 of them), the rest the opposing signal x_o (d2). The parameters are `b`
    (d1,), `b_o` (d2,) and the scalar `c`.

    Source: Rosenfeld and Risteski 2023, arXiv 2311.04163, §3.3.
    """

    signal: Annotated[int, Field(ge=1)] = 10
    """How many of the inputs are x; the same as the data set's `signal`."""
    init: Literal["expected", "normal"] = "expected"
    """`expected`: b and b_o all 1/√(d1 + d2), the paper's orders of magnitude; `normal`: N(0, 1/(d1 + d2)). c is 1."""

    def build(self, example_shape: tuple[int, ...], outputs: int, init: torch.Generator) -> nn.Module:
        """Return the model in float64. Raises `ComponentError` unless there is one output and room for x_o."""
        inputs = prod(example_shape)
        if outputs != 1:
            raise ComponentError(f"model two_layer_linear: has one output, and this data set needs {outputs}")
        if self.signal >= inputs:
            raise ComponentError(
                f"model two_layer_linear: signal is {self.signal}, and an input has {inputs} entries in all; "
                f"at least one must be left for the opposing signal, so give at most {inputs - 1}"
            )
        if self.init == "expected":
            first = torch.full((inputs,), 1 / sqrt(inputs), dtype=torch.float64)
        else:
            first = torch.randn(inputs, generator=init, dtype=torch.float64) / sqrt(inputs)
        return _Product(first[: self.signal].clone(), first[self.signal :].clone())


class _Product(nn.Module):
    """f = c·(bᵀx + b_oᵀx_o)."""

    def __init__(self, b: Tensor, b_o: Tensor) -> None:
        super().__init__()
        self.b, self.b_o = nn.Parameter(b), nn.Parameter(b_o)
        self.c = nn.Parameter(torch.ones((), dtype=b.dtype))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return f (n, 1) on `inputs` (n, d1 + d2)."""
        first = torch.cat([self.b, self.b_o])
        return self.c * (inputs.flatten(1) @ first)[:, None]
