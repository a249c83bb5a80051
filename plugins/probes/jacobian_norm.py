"""A worked example: a probe that differentiates the network by its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from studyrun.plugin import Carry, Channel, Context, Dimension, Field, Probe, Reading, Snapshot


class JacobianNorm(Probe):
    """Spectral norm of the input-output Jacobian on the first training examples.

    ‖∂f(x_i)/∂x_i‖₂, the largest singular value of the (outputs × inputs) Jacobian of each example, and its mean and
    maximum over them. Unit: output per input. Cost: one backward pass per output on `examples` examples.

    Source: Lowell and Kastner 2024, arXiv 2406.00127, Section 2.
    """

    cites: ClassVar[tuple[str, ...]] = ("arXiv:2406.00127",)
    figures: ClassVar[tuple[str, ...]] = ("jacobian_norm",)

    examples: Annotated[int, Field(ge=1)] = 32
    """How many training examples to look at; all of them if there are fewer."""

    def channels(self, context: Context) -> Sequence[Channel]:
        count = min(self.examples, len(context.data.train))
        words = "spectral norm of the input-output Jacobian"
        return [
            Channel("norm", words, (Dimension.of_size("example", count),), "‖∂f/∂x‖₂", "output / input"),
            Channel("mean", f"mean {words}", (), "⟨‖∂f/∂x‖₂⟩", "output / input"),
            Channel("maximum", f"largest {words}", (), "max ‖∂f/∂x‖₂", "output / input"),
        ]

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        inputs = snapshot.context.data.train.inputs[: self.examples]
        norms = torch.linalg.matrix_norm(jacobians(snapshot, inputs).double(), ord=2)
        return {"norm": norms, "mean": norms.mean(), "maximum": norms.max()}, carry


def jacobians(snapshot: Snapshot, inputs: Tensor) -> Tensor:
    """The Jacobian of each example, (n, outputs, inputs).

    The sum of one output over the examples has each example's own row as its gradient, since examples do not mix.
    """
    inputs = inputs.clone().requires_grad_()
    outputs = snapshot.forward(list(snapshot.parameters.values()), inputs)
    rows = [torch.autograd.grad(column.sum(), inputs, retain_graph=True)[0] for column in outputs.unbind(1)]
    return torch.stack([row.flatten(1) for row in rows], dim=1)
