"""The two parts of the Hessian: what the loss bends, and what the network bends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
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
    Reading,
    Snapshot,
    Statistics,
    curvature,
    eigenpair_evidence,
)

UNITS = "loss / parameter²"


class GaussNewton(Probe):
    """Largest eigenvalues of the Gauss–Newton matrix G and of the rest R = H − G.

    H = G + R with G = (1/n) Σ_i J_iᵀ (∇²_f ℓ_i) J_i and R = (1/n) Σ_i Σ_o (∂ℓ_i/∂f_o) ∇²f_o(x_i), where J_i is the
    Jacobian of the outputs. Algebraically largest, by block Rayleigh–Ritz from the last measurement's vectors; R has
    eigenvalues of both signs, and with `smallest` its lowest is recorded too. A value is within `residual` of an
    eigenvalue; one that did not converge is NaN. Unit: loss per squared parameter. Cost: solves for G at about one
    gradient a product, and for R at two; `matvecs` counts products with H and with G.

    Source: Lowell and Kastner 2024, arXiv 2406.00127, Section 3 (where R is called H); Schraudolph 2002.
    """

    cites: ClassVar[tuple[str, ...]] = ("arXiv:2406.00127",)
    figures: ClassVar[tuple[str, ...]] = ("gauss_newton",)
    second_order: ClassVar[bool] = True
    default_schedule: ClassVar[Mapping[str, Any]] = {"every": 10}

    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Residual ‖Av − λv‖ ≤ tolerance · |λ|."""
    exploration: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Chance per training step that a solve also follows a random vector, lest an eigenvalue grew where none looks."""
    smallest: bool = False
    """Also record the smallest eigenvalue of R, which costs a third solve."""
    statistics: Statistics = "train"
    """Batch norm under the statistics of each chunk of examples, as in training, or under its running ones."""

    def channels(self, context: Context) -> Sequence[Channel]:
        dims = (Dimension("part", self._parts()),)
        value = Channel("curvature", "extreme eigenvalue of the part", dims, "λ(G), λ(R)", UNITS, nan=UNCONVERGED)
        *evidence, doubt = eigenpair_evidence(*dims)
        return [value, *evidence, replace(doubt, dims=dims)]

    def _parts(self) -> tuple[str, ...]:
        return ("gauss_newton", "rest", "rest_smallest")[: 3 if self.smallest else 2]

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        hessian = snapshot.operator("hessian", statistics=self.statistics)
        gauss_newton = snapshot.operator("gauss_newton", statistics=self.statistics)
        operators = {
            "gauss_newton": gauss_newton,
            "rest": curvature.DifferenceOperator(hessian, gauss_newton),
            "rest_smallest": curvature.DifferenceOperator(gauss_newton, hessian),
        }
        before = hessian.products + gauss_newton.products
        solved = {part: self._solve(snapshot, part, operators[part], carry) for part in self._parts()}
        pairs = [one for one, _ in solved.values()]
        signs = torch.tensor([-1.0 if part == "rest_smallest" else 1.0 for part in solved], dtype=torch.float64)
        reading = {
            "curvature": signs * torch.cat([one.known_values for one in pairs]),
            "residual": torch.cat([one.residuals for one in pairs]),
            "error": torch.cat([one.errors for one in pairs]),
            "separation": torch.cat([one.gaps for one in pairs]),
            "matvecs": hessian.products + gauss_newton.products - before,
            "converged": torch.cat([one.converged for one in pairs]),
            "unconverged": signs * torch.cat([one.evidence()["unconverged"] for one in pairs]),
            "doubt": [one.doubt for one in pairs],
        }
        return reading, {part: after for part, (_, after) in solved.items()}

    def _solve(
        self, snapshot: Snapshot, part: str, operator: curvature.SymmetricOperator, carry: Carry
    ) -> tuple[curvature.Eigenpairs, Carry]:
        purpose = f"gauss_newton {part}"
        return snapshot.follow(operator, 1, self.tolerance, self.exploration, (carry or {}).get(part), purpose)
