"""How large the parameters are, and how far they have come."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from studyrun.plugin import Carry, Channel, Context, Dimension, Probe, Reading, Snapshot


class Parameters(Probe):
    """Norm of the parameters and their distance from initialisation, whole and by parameter tensor.

    ‖θ‖₂ and ‖θ − θ_0‖₂, accumulated in float64, where θ_0 are the parameters at this probe's first measurement. Cost:
    two passes over the parameters, and a copy of them in memory.
    """

    def channels(self, context: Context) -> Sequence[Channel]:
        dims = (Dimension("tensor", tuple(context.parameter_shapes)),)
        return [
            Channel("norm", "norm of the parameters", (), "‖θ‖", "parameter"),
            Channel("distance", "distance from initialisation", (), "‖θ − θ₀‖", "parameter"),
            Channel("norm_by_layer", "norm of the tensor", dims, "‖W‖", "parameter"),
            Channel("distance_by_layer", "distance of the tensor from initialisation", dims, "‖W − W₀‖", "parameter"),
        ]

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        now = snapshot.parameters
        first: dict[str, Tensor] = carry or {name: tensor.clone() for name, tensor in now.items()}
        norms = torch.stack([tensor.double().norm() for tensor in now.values()])
        moved = torch.stack([(now[name].double() - first[name].double()).norm() for name in now])
        reading = {
            "norm": norms.norm(),
            "distance": moved.norm(),
            "norm_by_layer": norms,
            "distance_by_layer": moved,
        }
        return reading, first
