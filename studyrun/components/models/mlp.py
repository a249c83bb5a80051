"""A fully connected network, for `model: {use: mlp}`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from math import prod, sqrt
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from torch import nn
from torch.nn import functional

from studyrun.plugin import Field, Model, Options

if TYPE_CHECKING:
    from torch import Tensor

Activation = Literal["relu", "elu", "tanh", "gelu"]
Scheme = Literal[
    "default",
    "kaiming_normal",
    "kaiming_uniform",
    "xavier_normal",
    "xavier_uniform",
    "orthogonal",
    "normal",
    "zero",
]

ACTIVATIONS: Mapping[Activation, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "elu": functional.elu,
    "tanh": torch.tanh,
    "gelu": functional.gelu,
}


class LayerInit(Options):
    """How the weights and the bias of a linear layer are drawn."""

    scheme: Scheme = "kaiming_normal"
    """`default` is torch's own for a linear layer, `normal` has unit variance; the rest are torch's of that name."""
    gain: Annotated[float, Field(gt=0)] | None = None
    """The scheme's gain; null stands for √2 in the Kaiming schemes and 1 in the others."""
    scale: Annotated[float, Field(ge=0)] = 1.0
    """The weights drawn are multiplied by this; the bias is not."""
    bias: Literal["zero", "default"] = "zero"
    """`default` is torch's own, uniform within ±1/√(inputs of the layer)."""

    def fill(self, layer: nn.Linear, generator: torch.Generator) -> None:
        """Draw the weights, then the bias, in place."""
        _DRAW[self.scheme](layer.weight, self.gain, generator)
        layer.weight.mul_(self.scale)
        if layer.bias is not None and self.bias == "default":
            bound = 1 / sqrt(layer.in_features)
            layer.bias.uniform_(-bound, bound, generator=generator)
        elif layer.bias is not None:
            layer.bias.zero_()


class Init(LayerInit):
    """How the network is drawn: every layer alike, unless `last` says otherwise for the last one."""

    last: LayerInit | None = None
    """The last layer's own rule, complete in itself; null: like the others."""


class Mlp(Model):
    """A fully connected network of any depth and width; inputs of any shape are flattened.

    x ↦ W_L φ(… φ(W_1 x + b_1) …) + b_L, with `hidden` giving the widths between. The parameters are named
    `layers.0.weight`, `layers.0.bias`, `layers.1.weight`, and so on. Without hidden layers this is linear regression.
    """

    hidden: tuple[Annotated[int, Field(ge=1)], ...] = (512, 512)
    """The widths of the hidden layers, first to last; `[]` for none."""
    activation: Activation = "relu"
    """The function φ after every layer but the last."""
    bias: Literal["all", "first", "none"] = "all"
    """Which layers have a bias."""
    init: Init = Init()
    """How parameters are drawn; the default is Kaiming-normal weights and zero biases."""

    def build(self, example_shape: tuple[int, ...], outputs: int, init: torch.Generator) -> nn.Module:
        """Return the network in float64, drawn layer by layer from `init` alone."""
        widths = (prod(example_shape), *self.hidden, outputs)
        layers = [
            # skip_init, since the constructor of a linear layer draws from the global generator
            nn.utils.skip_init(nn.Linear, inputs, width, bias=self._has_bias(place), dtype=torch.float64)
            for place, (inputs, width) in enumerate(pairwise(widths))
        ]
        with torch.no_grad():
            for place, layer in enumerate(layers):
                is_last = place == len(layers) - 1
                rule = self.init.last if is_last and self.init.last is not None else self.init
                rule.fill(layer, init)
        return _Layers(layers, ACTIVATIONS[self.activation])

    def _has_bias(self, place: int) -> bool:
        return self.bias == "all" or (self.bias == "first" and place == 0)


class _Layers(nn.Module):
    """Linear layers with an activation between."""

    def __init__(self, layers: list[nn.Linear], activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.activation = activation

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs (n, o) on `inputs` (n, ...)."""
        values = inputs.flatten(1)
        for layer in self.layers[:-1]:
            values = self.activation(layer(values))
        return self.layers[-1](values)


def _default(weight: Tensor, gain: float | None, generator: torch.Generator) -> None:
    nn.init.kaiming_uniform_(weight, a=sqrt(5), generator=generator)  # what nn.Linear does to itself


def _kaiming(uniform: bool) -> Callable[[Tensor, float | None, torch.Generator], None]:
    draw = nn.init.kaiming_uniform_ if uniform else nn.init.kaiming_normal_

    def fill(weight: Tensor, gain: float | None, generator: torch.Generator) -> None:
        draw(weight, nonlinearity="linear", generator=generator)  # gain 1
        weight.mul_(sqrt(2) if gain is None else gain)

    return fill


def _xavier(uniform: bool) -> Callable[[Tensor, float | None, torch.Generator], None]:
    draw = nn.init.xavier_uniform_ if uniform else nn.init.xavier_normal_

    def fill(weight: Tensor, gain: float | None, generator: torch.Generator) -> None:
        draw(weight, gain=1.0 if gain is None else gain, generator=generator)

    return fill


def _orthogonal(weight: Tensor, gain: float | None, generator: torch.Generator) -> None:
    nn.init.orthogonal_(weight, gain=1.0 if gain is None else gain, generator=generator)


def _normal(weight: Tensor, gain: float | None, generator: torch.Generator) -> None:
    weight.normal_(0, 1.0 if gain is None else gain, generator=generator)


def _zero(weight: Tensor, gain: float | None, generator: torch.Generator) -> None:
    weight.zero_()


_DRAW: Mapping[Scheme, Callable[[Tensor, float | None, torch.Generator], None]] = {
    "default": _default,
    "kaiming_normal": _kaiming(uniform=False),
    "kaiming_uniform": _kaiming(uniform=True),
    "xavier_normal": _xavier(uniform=False),
    "xavier_uniform": _xavier(uniform=True),
    "orthogonal": _orthogonal,
    "normal": _normal,
    "zero": _zero,
}
