"""The curvature that an adaptive optimizer sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch

from studyrun.plugin import (
    UNCONVERGED,
    Carry,
    Channel,
    Context,
    Dimension,
    Field,
    Probe,
    ProbeError,
    Reading,
    Snapshot,
    curvature,
    eigenpair_evidence,
)

NO_PRECONDITIONER = "the optimizer has no preconditioner yet: it has not taken a step, or has seen no gradient"


class PreconditionedSharpness(Probe):
    """Preconditioned sharpness: the largest eigenvalues of P⁻¹H, with P the optimizer's own preconditioner.

    λ_1(P^(−1/2) H P^(−1/2)), which are the eigenvalues of P⁻¹H, where an update is −η P⁻¹ m and P is that of the last
    step taken: under Adam (1 − β1ᵗ)(√v̂ + ε), under RMSProp √v + ε, under gradient descent the identity, so that this
    is the sharpness. Full-batch Adam settles where it is (2 + 2β1)/((1 − β1)η), 38/η at β1 = 0.9. Warm-started from the
    last measurement. NaN before the optimizer's first step, where P is 0 in some entry (no gradient so far, and no ε),
    and where the solve did not converge. Unit: that of the Hessian over that of P. Cost: one solve
    of its own, at about one gradient a product.

    Source: Cohen et al. 2022, arXiv 2207.14484, Section 3.
    """

    cites: ClassVar[tuple[str, ...]] = ("arXiv:2207.14484",)
    figures: ClassVar[tuple[str, ...]] = ("sharpness",)
    second_order: ClassVar[bool] = True
    default_schedule: ClassVar[Mapping[str, Any]] = {"every": 10}

    k: Annotated[int, Field(ge=1, le=1000)] = 1
    """How many eigenvalues, from the largest down."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Residual ‖Av − λv‖ ≤ tolerance · |λ|, with A = P^(−1/2) H P^(−1/2)."""
    exploration: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Chance per training step that a solve also follows a random vector, lest an eigenvalue grew where none looks."""

    def channels(self, context: Context) -> Sequence[Channel]:
        if self.k > context.parameters:
            raise ProbeError(
                f"preconditioned_sharpness cannot give k = {self.k} eigenvalues of {context.parameters} parameters"
            )
        dims, nan = (Dimension("k", tuple(range(1, self.k + 1))),), NO_PRECONDITIONER
        value = Channel(
            "eigenvalue",
            "preconditioned sharpness",
            dims,
            "λ_k(P⁻¹H)",
            "loss / parameter² / P",
            standard_name="preconditioned_sharpness",
            nan=f"{UNCONVERGED}, or {nan}",
        )
        return [value, *eigenpair_evidence(*dims, units="loss / parameter² / P", nan=nan)]

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        preconditioner = snapshot.preconditioner
        if not bool((torch.isfinite(preconditioner) & (preconditioner > 0)).all()):
            missing = ("eigenvalue", "residual", "error", "separation", "unconverged")
            none = dict.fromkeys(missing, torch.full((self.k,), torch.nan))
            return {**none, "matvecs": 0, "doubt": 1.0, "converged": torch.zeros(self.k, dtype=torch.bool)}, carry
        operator = curvature.PreconditionedOperator(snapshot.hessian, preconditioner)
        pairs, carry = snapshot.follow(
            operator, self.k, self.tolerance, self.exploration, carry, "preconditioned sharpness"
        )
        return {"eigenvalue": pairs.known_values, **pairs.evidence()}, carry
