"""Which groups pull along the sharpest direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    curvature,
    eigenvector_evidence,
)

ZERO = "the group's gradient is zero"


class GroupAlignment(Probe):
    """Alignment of each group's gradient with the top Hessian eigenvector, and its curvature influence.

    With ∇ℓ_k the gradient of group k's mean loss and v_1 the top eigenvector of the Hessian of the whole training
    loss: cos²θ_k = (∇ℓ_k · v_1)² / ‖∇ℓ_k‖², C_k = (∇ℓ_k · v_1)², and ‖∇ℓ_k‖. cos² is NaN where a gradient vanishes,
    and with C_k where v_1 is not known.
    Cost: one gradient evaluation on the groups' examples, and the eigenpair solve it shares with `sharpness`.

    Source: Kwag et al. 2026, arXiv 2606.04212, Section 3 and Figure 5.
    """

    cites: ClassVar[tuple[str, ...]] = ("arXiv:2606.04212",)
    figures: ClassVar[tuple[str, ...]] = ("alignment",)
    default_schedule: ClassVar[Mapping[str, Any]] = {"every": 10}

    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Residual ‖Hv − λv‖ ≤ tolerance · |λ| of the eigenvector."""

    def channels(self, context: Context) -> Sequence[Channel]:
        dims = (Dimension("group", context.groups),)
        gradient = "loss / parameter"
        return [
            Channel("cos2", "alignment with the top eigenvector", dims, "cos²θ_k", nan=f"{ZERO}, or {NO_VECTOR}"),
            Channel("influence", "curvature influence", dims, "C_k", f"({gradient})²", nan=NO_VECTOR),
            Channel("gradient_norm", "norm of the group's gradient", dims, "‖∇ℓ_k‖", gradient),
            *eigenvector_evidence(),
        ]

    def eigenpair_request(self, context: Context) -> EigenpairRequest:
        return EigenpairRequest(min(2, context.parameters), self.tolerance)

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        k = min(2, snapshot.context.parameters)
        pairs, gradients = snapshot.eigenpairs(k, self.tolerance), snapshot.group_gradients.double()
        along = gradients @ pairs.known_vectors[:, 0].double()
        norms = curvature.norms(gradients)
        reading = {
            "cos2": (along / norms).square(),
            "influence": along.square(),
            "gradient_norm": norms,
            **pairs.vector_evidence(),
        }
        return reading, carry
