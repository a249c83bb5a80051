"""How each group's gradient pulls at the sharpness itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar

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
    ProbeError,
    Reading,
    Snapshot,
    Statistics,
    curvature,
)

TOGETHER = f"the two largest eigenvalues lie together within the solver's errors, ∇S is not defined; or {NO_VECTOR}"

ROUNDING = 30  # the noise of an eigenvalue, in units of machine epsilon times itself
NO_GAP = "one of the two solves did not converge, or both eigenvalues are zero"


class SharpnessCoupling(Probe):
    """Coupling of each group's gradient to the gradient of the sharpness, beside its curvature influence.

    With S the sharpness, v_1 its eigenvector and ∇ℓ_k the gradient of group k's mean loss: Q_k = ⟨∇ℓ_k, ∇S⟩, by which
    a small step −ε∇ℓ_k changes S by −ε Q_k, and C_k = (∇ℓ_k · v_1)². ∇S = ∇_θ v_1ᵀH(θ)v_1 at fixed v_1, a third
    derivative. In the approximation of a single mode, that of ∇S only the part along v_1 counts, Q_k²/C_k is
    (v_1 · ∇S)² for every group. Both scale as ‖∇ℓ_k‖², which is recorded too.

    ∇S is defined for a simple eigenvalue alone. With residual r_1 of v_1 the sine of its angle to the eigenvector is at
    most `angle` = r_1 / (λ_1 − λ_2 − r_2), rounding taken off the gap, and ∇S is off in first order of it; where the
    bound reaches 1, λ_1 and λ_2 are not told apart, and Q_k and ∇S are NaN. Unit of Q_k: loss² / parameter⁴.
    Cost: one gradient on the groups' examples, four gradients (MLP) to eleven (ResNet, attention) for ∇S, and the solve
    it shares with `sharpness`, for two pairs: 40 products cold and 8 warm ten steps later.

    Source: Kwag et al. 2026, arXiv 2606.04212, Figure 22; sin θ theorem: Davis and Kahan 1970.
    """

    cites: ClassVar[tuple[str, ...]] = ("arXiv:2606.04212",)
    figures: ClassVar[tuple[str, ...]] = ("single_mode",)
    default_schedule: ClassVar[Mapping[str, Any]] = {"every": 50}

    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Residual ‖Hv − λv‖ ≤ tolerance · |λ| of both eigenvectors."""
    statistics: Statistics = "train"
    """Batch norm under the statistics of each chunk of examples, as in training, or under its running ones."""

    def channels(self, context: Context) -> Sequence[Channel]:
        if context.parameters < 2:
            raise ProbeError("sharpness_coupling needs two eigenvalues, and this model has one parameter")
        dims, steep = (Dimension("group", context.groups),), "loss / parameter"
        third, coupling = "loss / parameter³", "coupling to the gradient of the sharpness"
        return [
            Channel("coupling_squared", f"squared {coupling}", dims, "Q_k²", "(loss² / parameter⁴)²", nan=TOGETHER),
            Channel("coupling", coupling, dims, "Q_k", "loss² / parameter⁴", nan=TOGETHER),
            Channel("influence", "curvature influence", dims, "C_k", f"({steep})²", nan=NO_VECTOR),
            Channel("gradient_norm", "norm of the group's gradient", dims, "‖∇ℓ_k‖", steep),
            Channel(
                "sharpness_gradient_norm", "norm of the gradient of the sharpness", (), "‖∇S‖", third, nan=TOGETHER
            ),
            Channel("sharpness_gradient_along", "its part along the eigenvector", (), "v₁·∇S", third, nan=TOGETHER),
            Channel("gap", "relative gap to the second eigenvalue", (), "(λ₁ − λ₂) / |λ₁|", nan=NO_GAP),
            Channel("angle", "bound on the sine of the angle to the eigenvector; 1: none", (), "sin ∠(v₁, v*)"),
            Channel("residual", "norm of the residual Hv − λv", (), "‖Hv₁ − λv₁‖", "loss / parameter²"),
            Channel("converged", "residual within the tolerance asked for", dtype="bool"),
        ]

    def eigenpair_request(self, context: Context) -> EigenpairRequest:
        return EigenpairRequest(2, self.tolerance, statistics=self.statistics)

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        pairs = snapshot.eigenpairs(2, self.tolerance, statistics=self.statistics)
        top, gradients = pairs.known_vectors[:, 0], self._group_gradients(snapshot).double()
        apart, (residual, below) = pairs.values[0] - pairs.values[1], pairs.residuals
        gap = apart - below - ROUNDING * torch.finfo(top.dtype).eps * pairs.values[0].abs()
        angle = (residual / gap).clamp(max=1) if gap > 0 else torch.ones_like(apart)
        slope = self._slope(snapshot, top).double() if angle < 1 else torch.full_like(top, torch.nan).double()
        coupling = gradients @ slope
        reading = {
            "coupling_squared": coupling.square(),
            "coupling": coupling,
            "influence": (gradients @ top.double()).square(),
            "gradient_norm": torch.linalg.vector_norm(gradients, dim=1),
            "sharpness_gradient_norm": torch.linalg.vector_norm(slope),
            "sharpness_gradient_along": slope @ top.double(),
            "gap": apart / pairs.known_values[0].abs() if pairs.converged.all() else torch.nan,
            "angle": angle,
            "residual": residual,
            "converged": pairs.converged[0],
        }
        return reading, carry

    def _group_gradients(self, snapshot: Snapshot) -> Tensor:
        """The gradient of each group's mean loss, (g, p), under the statistics asked for."""
        if self.statistics == "train":
            return snapshot.group_gradients
        grouping, question = snapshot.context.grouping, self._question(snapshot)
        assert grouping is not None, "channels() has refused a study without groups"
        return curvature.group_gradients(*question, list(grouping.members.values()), snapshot.chunk_size)

    def _slope(self, snapshot: Snapshot, top: Tensor) -> Tensor:
        """∇S, (p,)."""
        return curvature.curvature_gradient(*self._question(snapshot), top, snapshot.chunk_size)

    def _question(self, snapshot: Snapshot) -> tuple[curvature.PerExampleLoss, Sequence[Tensor], Tensor, Tensor]:
        train, losses = snapshot.context.data.train, partial(snapshot.per_example, statistics=self.statistics)
        return losses, list(snapshot.parameters.values()), train.inputs, train.targets
