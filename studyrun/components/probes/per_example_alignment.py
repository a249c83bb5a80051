"""How each example's gradient stands to the sharpest direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar

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
    curvature,
    eigenvector_evidence,
)


class PerExampleAlignment(Probe):
    """Alignment of every training example's gradient with the top Hessian eigenvector, and the gradient's norm.

    cos²(∇ℓ_i, v_1) = (∇ℓ_i · v_1)² / ‖∇ℓ_i‖², with v_1 the unit top eigenvector of the Hessian of the whole training
    loss; NaN where the gradient vanishes, or v_1 is not known. Recorded in single precision: 8 n bytes a step. Cost:
    the eigenpair solve it shares with `sharpness`, 3 to 5 forward passes for the products, about one gradient for the
    norms. No per-example gradient is ever held. Under batch norm in training mode the loss of an example is that in its
    chunk, and the norms cost a backward pass through the chunk for each example; `statistics: eval` does not.

    Source: Kwag et al. 2026, arXiv 2606.04212, Figures 8 and 20.
    """

    cites: ClassVar[tuple[str, ...]] = ("arXiv:2606.04212",)
    figures: ClassVar[tuple[str, ...]] = ("per_example_alignment",)
    default_schedule: ClassVar[Mapping[str, Any]] = {"every": 10}

    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Residual ‖Hv − λv‖ ≤ tolerance · |λ| of the eigenvector."""
    statistics: Statistics = "train"
    """Batch norm under the statistics of each chunk of examples, as in training, or under its running ones."""

    def channels(self, context: Context) -> Sequence[Channel]:
        dims, steep = (Dimension.of_size("example", len(context.data.train)),), "loss / parameter"
        words, nan = "alignment with the top eigenvector", f"the example's gradient is zero, or {NO_VECTOR}"
        return [
            Channel("cos2", words, dims, "cos²(∇ℓ_i, v₁)", dtype="float32", nan=nan),
            Channel("gradient_norm", "norm of the example's gradient", dims, "‖∇ℓ_i‖", steep, dtype="float32"),
            *eigenvector_evidence(),
        ]

    def eigenpair_request(self, context: Context) -> EigenpairRequest:
        return EigenpairRequest(min(2, context.parameters), self.tolerance, statistics=self.statistics)

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        train = snapshot.context.data.train
        k = min(2, snapshot.context.parameters)
        pairs = snapshot.eigenpairs(k, self.tolerance, statistics=self.statistics)
        losses = partial(snapshot.per_example, statistics=self.statistics)
        question = (losses, list(snapshot.parameters.values()), train.inputs, train.targets)
        top, chunk_size = pairs.known_vectors[:, 0], snapshot.chunk_size
        along = curvature.directional_derivatives(*question, top, chunk_size, curvatures=False)
        norms = curvature.gradient_norms(*question, chunk_size)
        reading = {
            "cos2": curvature.cosines_squared(along.slopes, norms),
            "gradient_norm": norms,
            **pairs.vector_evidence(),
        }
        return reading, carry
