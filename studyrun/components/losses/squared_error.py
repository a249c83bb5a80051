"""The square loss, in the convention that its `scale` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from torch.nn import functional

from studyrun.plugin import Field, Loss

if TYPE_CHECKING:
    from torch import Tensor


class SquaredError(Loss):
    """Squared error, summed over outputs; classes become one-hot targets in {0, 1}, and for a single output 0 and 1.

    ℓ_i = scale · Σ_o (f_o(x_i) − y_io)². Sharpness is proportional to `scale`: 1 is the convention of arXiv 2606.04212,
    0.5 that of Cohen et al. 2021 (arXiv 2103.00065).
    """

    scale: Annotated[float, Field(gt=0)] = 1.0
    """The factor before the sum."""

    def per_example(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if not targets.is_floating_point():
            single = outputs.shape[-1] == 1
            targets = (targets[:, None] if single else functional.one_hot(targets, outputs.shape[-1])).to(outputs.dtype)
        if outputs.shape != targets.shape:
            raise ValueError(f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} differ in shape")
        return (outputs - targets).square().flatten(1).sum(1) * self.scale

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        if targets.is_floating_point() or outputs.shape[-1] > 1:
            return super().correct(outputs, targets)
        return (outputs[:, 0] > 0.5) == (targets > 0.5)  # the nearer of the targets 0 and 1
