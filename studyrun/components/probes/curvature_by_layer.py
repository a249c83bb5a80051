"""Which layers the sharpest direction lies in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from studyrun.plugin import (
    NO_VECTOR,
    Carry,
    Channel,
    Context,
    Dimension,
    EigenpairRequest,
    Field,
    Probe,
    Reading,
    Snapshot,
    Statistics,
    eigenvector_evidence,
)


class CurvatureByLayer(Probe):
    """Share of the top Hessian eigenvector in each parameter tensor.

    Σ_{j in W} v_1j² for each tensor W, v_1 being the unit top eigenvector of the Hessian of the training loss; the
    shares add up to 1. Where v_1 is out of reach, `of: gradient_square` takes its place by the running average of the
    squared gradient over this probe's measurements, u ← βu + (1 − β)g²: the share is Σ_{j in W} u_j / Σ_j u_j, and the
    channel's name says so; measure at every step for the optimizers' own average. Cost: the eigenpair solve it shares
    with `sharpness`; or the gradient, free under full-batch optimizers.

    Source: Rosenfeld and Risteski 2023, arXiv 2311.04163, Appendix D, Figures 32 to 35.
    """

    cites: ClassVar[tuple[str, ...]] = ("arXiv:2311.04163",)
    figures: ClassVar[tuple[str, ...]] = ("curvature_by_layer",)
    default_schedule: ClassVar[Mapping[str, Any]] = {"every": 10}

    of: Literal["eigenvector", "gradient_square"] = "eigenvector"
    """What is shared out: v_1, or the running average of the squared gradient."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Residual ‖Hv − λv‖ ≤ tolerance · |λ| of the eigenvector."""
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """β of the running average."""
    statistics: Statistics = "train"
    """Batch norm in the Hessian under the statistics of each chunk, as in training, or under its running ones."""

    def channels(self, context: Context) -> Sequence[Channel]:
        dims = (Dimension("tensor", tuple(context.parameter_shapes)),)
        if self.of == "gradient_square":
            words = "share of the running average of the squared gradient in the tensor"
            return [Channel("share", words, dims, "⟨g²⟩_W / ⟨g²⟩", nan="the gradient has been zero so far")]
        return [
            Channel("share", "share of the top eigenvector in the tensor", dims, "‖v₁_W‖²", nan=NO_VECTOR),
            *eigenvector_evidence(),
        ]

    def eigenpair_request(self, context: Context) -> EigenpairRequest | None:
        if self.of == "gradient_square":
            return None
        return EigenpairRequest(1, self.tolerance, statistics=self.statistics)

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        if self.of == "gradient_square":
            now = (1 - self.decay) * snapshot.gradient.double().square()
            average = now if carry is None else self.decay * carry + now
            if not bool(average.isfinite().all()):  # it would be so for good
                return {"share": torch.full((len(snapshot.parameters),), torch.nan)}, carry
            return {"share": _shares(snapshot, average)}, average
        pairs = snapshot.eigenpairs(1, self.tolerance, statistics=self.statistics)
        share = _shares(snapshot, pairs.known_vectors[:, 0].double().square())
        return {"share": share, **pairs.vector_evidence()}, carry


def _shares(snapshot: Snapshot, weights: Tensor) -> Tensor:
    """The share of each tensor in the sum of `weights` (p,)."""
    sizes = [tensor.numel() for tensor in snapshot.parameters.values()]
    sums = torch.stack([part.sum() for part in torch.split(weights, sizes)])
    return sums / sums.sum()
