"""How long the gradient is."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from studyrun.plugin import Carry, Channel, Context, Dimension, Probe, Reading, Snapshot, curvature


class GradientNorm(Probe):
    """Norm of the full training gradient, whole and by parameter tensor.

    ‖∇L(θ)‖₂, accumulated in float64. Free under full-batch optimizers, one gradient evaluation otherwise. Unit: loss
    per parameter.
    """

    by_layer: bool = False
    """Also record the norm of each parameter tensor's part."""

    def channels(self, context: Context) -> Sequence[Channel]:
        units = "loss / parameter"
        found = [Channel("norm", "norm of the training gradient", (), "‖∇L‖", units)]
        if self.by_layer:
            dims = (Dimension("tensor", tuple(context.parameter_shapes)),)
            found.append(Channel("by_layer", "norm of the tensor's gradient", dims, "‖∂L/∂W‖", units))
        return found

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        gradient = snapshot.gradient
        reading = {"norm": curvature.norms(gradient[None])[0]}
        if self.by_layer:
            sizes = [tensor.numel() for tensor in snapshot.parameters.values()]
            reading["by_layer"] = torch.cat([curvature.norms(part[None]) for part in torch.split(gradient, sizes)])
        return reading, carry
