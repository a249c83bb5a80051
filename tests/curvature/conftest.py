"""Small problems whose Hessians fit in memory: every activation, both losses, and the two-layer linear scalar net."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn import functional

PerExample = Callable[[Sequence[Tensor], Tensor, Tensor], Tensor]

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, "elu": functional.elu, "gelu": functional.gelu}
EXAMPLES, FEATURES, HIDDEN, OUTPUTS = 23, 5, 6, 3


@dataclass(frozen=True)
class Problem:
    """A per-example loss, the point at which it is examined, and its examples."""

    per_example: PerExample
    parameters: list[Tensor]
    inputs: Tensor
    targets: Tensor

    @property
    def arguments(self) -> tuple[PerExample, list[Tensor], Tensor, Tensor]:
        return self.per_example, self.parameters, self.inputs, self.targets

    def single(self) -> Problem:
        """The same in float32."""
        targets = self.targets.float() if self.targets.is_floating_point() else self.targets
        return Problem(self.per_example, [part.float() for part in self.parameters], self.inputs.float(), targets)


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - functional.one_hot(targets, OUTPUTS)).square().sum(-1)


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets, reduction="none")


LOSSES = {"squared_error": squared_error, "cross_entropy": cross_entropy}


def mlp(activation: str, loss: str, seed: int = 0) -> Problem:
    """A net 5-6-6-3 with biases, far enough from a minimum that its Hessian has eigenvalues of both signs."""
    generator = torch.Generator().manual_seed(seed)
    widths = [FEATURES, HIDDEN, HIDDEN, OUTPUTS]
    parameters = []
    for fan_in, fan_out in pairwise(widths):
        parameters.append(torch.randn(fan_out, fan_in, generator=generator, dtype=torch.float64))
        parameters.append(0.1 * torch.randn(fan_out, generator=generator, dtype=torch.float64))

    def per_example(parts: Sequence[Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        hidden = inputs
        for layer in range(0, len(parts), 2):
            hidden = functional.linear(hidden, parts[layer], parts[layer + 1])
            if layer < len(parts) - 2:
                hidden = ACTIVATIONS[activation](hidden)
        return LOSSES[loss](hidden, targets)

    inputs = torch.randn(EXAMPLES, FEATURES, generator=generator, dtype=torch.float64)
    targets = torch.randint(OUTPUTS, (EXAMPLES,), generator=generator)
    return Problem(per_example, parameters, inputs, targets)


def two_layer_linear(seed: int = 0) -> Problem:
    """f(x) = c bᵀx with a scalar c, squared error without one-hot targets (PROTOCOLS.md, opposing signals)."""
    generator = torch.Generator().manual_seed(seed)
    parameters = [
        torch.tensor(0.7, dtype=torch.float64),
        torch.randn(FEATURES, generator=generator, dtype=torch.float64),
    ]

    def per_example(parts: Sequence[Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        scale, direction = parts
        return (scale * (inputs @ direction) - targets).square()

    inputs = torch.randn(EXAMPLES, FEATURES, generator=generator, dtype=torch.float64)
    return Problem(per_example, parameters, inputs, inputs[:, 0] + 0.1)


PROBLEMS = {f"{a}-{b}": (mlp, a, b) for a in ACTIVATIONS for b in LOSSES} | {"two-layer-linear": (two_layer_linear,)}


@pytest.fixture(params=PROBLEMS)
def problem(request: pytest.FixtureRequest) -> Problem:
    """Each of the small problems in turn."""
    make, *arguments = PROBLEMS[request.param]
    return make(*arguments)


@pytest.fixture
def smooth() -> Problem:
    """One of them, for what need not be said of all."""
    return mlp("tanh", "cross_entropy")
