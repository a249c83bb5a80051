"""A loss of your own, for `loss: my_loss`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from torch.nn import functional

from studyrun.plugin import Field, Loss

if TYPE_CHECKING:
    from torch import Tensor


class MyLoss(Loss):
    """Huber's loss, summed over outputs; classes become one-hot targets in {0, 1}.

    ℓ_i = Σ_o h(f_o(x_i) − y_io) with h(r) = r²/2 for |r| ≤ δ and δ(|r| − δ/2) beyond: as the squared error near the
    target, but outliers pull with a bounded force.
    """

    delta: Annotated[float, Field(gt=0)] = 1.0
    """δ, where the parabola turns into a line."""

    def per_example(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each example, (n,), differentiable in `outputs` (n, o)."""
        if not targets.is_floating_point():
            targets = functional.one_hot(targets, outputs.shape[-1]).to(outputs.dtype)
        apart = (outputs - targets).abs().flatten(1)
        near = apart.clamp(max=self.delta)
        return (near * (apart - near / 2)).sum(1)
