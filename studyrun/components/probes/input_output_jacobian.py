"""How far a change of the inputs carries to the outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from studyrun.plugin import (
    Carry,
    Channel,
    Context,
    Dimension,
    Field,
    Probe,
    ProbeError,
    Reading,
    Snapshot,
    field_validator,
)

Count = Annotated[int, Field(ge=1)]
Place = Annotated[int, Field(ge=0)]


class InputOutputJacobian(Probe):
    """Spectral and Frobenius norm of the input-output Jacobian of chosen training examples.

    For J_i = ∂f(x_i)/∂x_i, (outputs × inputs): its largest singular value ‖J_i‖₂ and ‖J_i‖_F for each example, and
    mean and maximum of ‖J_i‖₂ over them. The network is taken in evaluation mode, where examples do not mix. It is the
    product of the layerwise Jacobians whose alignment the paper follows, so that it grows as they align. Unit: output
    per input. Cost: one backward pass per output on the examples chosen.

    Source: Lowell and Kastner 2024, arXiv 2406.00127, Section 4.
    """

    cites: ClassVar[tuple[str, ...]] = ("arXiv:2406.00127",)

    examples: Count | tuple[Place, ...] = 32
    """How many training examples, from the first; or a list of their places in the training set."""

    @field_validator("examples")
    @classmethod
    def _some(cls, examples: int | tuple[int, ...]) -> int | tuple[int, ...]:
        if not examples:
            raise ValueError("give at least one example")
        return examples

    def channels(self, context: Context) -> Sequence[Channel]:
        count = len(context.data.train)
        chosen = self._chosen(count)
        if max(chosen) >= count:
            raise ProbeError(f"there is no training example {max(chosen)}: they are numbered from 0 to {count - 1}")
        dims, units = (Dimension("example", chosen),), "output / input"
        words = "spectral norm of the input-output Jacobian"
        return [
            Channel("mean", f"mean {words}", (), "⟨‖∂f/∂x‖₂⟩", units),
            Channel("maximum", f"largest {words}", (), "max ‖∂f/∂x‖₂", units),
            Channel("spectral", words, dims, "‖∂f/∂x‖₂", units),
            Channel("frobenius", "Frobenius norm of the input-output Jacobian", dims, "‖∂f/∂x‖_F", units),
        ]

    def _chosen(self, count: int) -> tuple[int, ...]:
        return tuple(range(min(self.examples, count))) if isinstance(self.examples, int) else self.examples

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        train = snapshot.context.data.train
        chosen = train.inputs[list(self._chosen(len(train)))]
        parts = [_jacobians(snapshot, part).double() for part in torch.split(chosen, snapshot.chunk_size)]
        spectral = torch.cat([_spectral_norms(part) for part in parts])
        frobenius = torch.cat([torch.linalg.matrix_norm(part) for part in parts])
        reading = {
            "mean": spectral.mean(),
            "maximum": spectral.max(),
            "spectral": spectral,
            "frobenius": frobenius,
        }
        return reading, carry


def _spectral_norms(matrices: Tensor) -> Tensor:
    """The largest singular value of each; NaN where an entry is no finite number, which the decomposition refuses."""
    finite = matrices.isfinite().flatten(1).all(1)
    norms = matrices.new_full((len(matrices),), torch.nan)
    norms[finite] = torch.linalg.matrix_norm(matrices[finite], ord=2)
    return norms


def _jacobians(snapshot: Snapshot, inputs: Tensor) -> Tensor:
    """The Jacobian of each example, (n, outputs, inputs).

    The sum of one output over the examples has each example's own row as its gradient, since examples do not mix.
    """
    inputs = inputs.clone().requires_grad_()
    outputs = snapshot.forward(list(snapshot.parameters.values()), inputs, statistics="eval").flatten(1)
    rows = [torch.autograd.grad(column.sum(), inputs, retain_graph=True)[0] for column in outputs.unbind(1)]
    return torch.stack([row.flatten(1) for row in rows], dim=1)
