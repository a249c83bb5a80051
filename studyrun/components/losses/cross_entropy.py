"""The usual classification loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from torch.nn import functional

from studyrun.plugin import Field, Loss

if TYPE_CHECKING:
    from torch import Tensor


class CrossEntropy(Loss):
    """Cross-entropy of the softmax, in nats.

    ℓ_i = −log softmax(f(x_i))[y_i]; with label smoothing ε the target is (1 − ε) on y_i plus ε / classes everywhere.
    """

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability mass spread evenly over all classes."""

    def per_example(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if targets.is_floating_point():
            raise ValueError(
                "cross_entropy needs classes as targets; this data set has real numbers: use squared_error"
            )
        if outputs.shape[-1] == 1:
            raise ValueError(
                "cross_entropy needs an output for each class, and there is a single one: `outputs=2` in the data set "
                "would be right, or a loss on one logit"
            )
        return functional.cross_entropy(outputs, targets, reduction="none", label_smoothing=self.label_smoothing)
