"""A worked example: a probe of the parameters alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from studyrun.plugin import Carry, Channel, Context, Probe, ProbeError, Reading, Snapshot


class LastLayer(Probe):
    """Frobenius and spectral norm of the last weight matrix, and their ratio.

    ‖W_L‖_F, ‖W_L‖₂ and the stable rank ‖W_L‖_F² / ‖W_L‖₂², which is near 1 when one direction carries the layer. The
    last weight matrix is the last parameter with two dimensions. Unit: parameter. Cost: one small SVD.
    """

    figures: ClassVar[tuple[str, ...]] = ("last_layer",)

    def channels(self, context: Context) -> Sequence[Channel]:
        if not any(len(shape) == 2 for shape in context.parameter_shapes.values()):
            raise ProbeError("this model has no weight matrix, so no last one")
        return [
            Channel("frobenius", "Frobenius norm of the last layer", (), "‖W_L‖_F", "parameter"),
            Channel("spectral", "spectral norm of the last layer", (), "‖W_L‖₂", "parameter"),
            Channel("stable_rank", "stable rank of the last layer", (), "‖W_L‖_F² / ‖W_L‖₂²"),
        ]

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        weight = last_matrix(snapshot).double()
        frobenius, spectral = torch.linalg.matrix_norm(weight), torch.linalg.matrix_norm(weight, ord=2)
        return {"frobenius": frobenius, "spectral": spectral, "stable_rank": (frobenius / spectral) ** 2}, carry


def last_matrix(snapshot: Snapshot) -> Tensor:
    """The last parameter with two dimensions."""
    return [tensor for tensor in snapshot.parameters.values() if tensor.dim() == 2][-1]
