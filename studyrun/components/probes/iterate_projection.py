"""Where the iterates go along a direction that was sharp once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from studyrun.plugin import (
    Carry,
    Channel,
    Context,
    Field,
    Probe,
    ProbeError,
    Reading,
    Snapshot,
    TriggerOption,
    curvature,
)

NOT_YET = "the eigenvector is not frozen yet"
NO_STEP = "the eigenvector is not frozen yet, or the optimizer has no preconditioner"


class IterateProjection(Probe):
    """Projection of the iterates on a Hessian eigenvector frozen at one step, and the optimizer's step along it.

    (θ_t − θ_ref)·v, where v is the k-th top eigenvector of the Hessian at the step at which `freeze` fires (or at the
    first after it whose solve converges), and θ_ref the iterate at that step or at the first measurement. With P the
    optimizer's preconditioner, its step sizes are the entries of η/P: `effective_step` is vᵀ diag(η/P) v, which is η
    under gradient descent, and `step_along` the paper's |⟨η/P, v⟩|. NaN before the freezing. A branch goes on with what
    its parent froze up to the fork's own step, and asks the trigger of its own optimizer after it. Unit: parameter.
    Cost: one eigenpair solve at the freezing, shared with `sharpness`; nothing worth naming after; two copies of the
    parameters in memory.

    Source: Rosenfeld and Risteski 2023, arXiv 2311.04163, Section 4.1 and Figure 6.
    """

    cites: ClassVar[tuple[str, ...]] = ("arXiv:2311.04163",)
    figures: ClassVar[tuple[str, ...]] = ("iterate_projection",)
    second_order: ClassVar[bool] = True

    freeze: TriggerOption | None = None
    """The trigger that freezes v, as in `{use: edge_of_stability}`; null freezes at the first measurement."""
    k: Annotated[int, Field(ge=1, le=1000)] = 1
    """Which eigenvector: 1 is the top one."""
    reference: Literal["freezing", "first"] = "freezing"
    """θ_ref: the iterate at the freezing, or at this probe's first measurement."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Residual ‖Hv − λv‖ ≤ tolerance · |λ| of the eigenvector."""

    def channels(self, context: Context) -> Sequence[Channel]:
        if self.k > context.parameters:
            raise ProbeError(f"iterate_projection cannot take eigenvector {self.k} of {context.parameters} parameters")
        words = "effective step along the frozen eigenvector"
        residual = ("residual of the eigenvector at its freezing", (), "‖Hv − λv‖", "loss / parameter²")
        return [
            Channel(
                "projection", "iterate along the frozen eigenvector", (), "(θ − θ_ref)·v", "parameter", nan=NOT_YET
            ),
            Channel("effective_step", words, (), "vᵀ(η/P)v", "learning rate / P", nan=NO_STEP),
            Channel(
                "step_along", "overlap of the step sizes with it", (), "|⟨η/P, v⟩|", "learning rate / P", nan=NO_STEP
            ),
            Channel("frozen_step", "step at which it was frozen; −1 before", (), "step", dtype="int64"),
            Channel("eigenvalue_then", "its eigenvalue at the freezing", (), "λ_k", "loss / parameter²", nan=NOT_YET),
            Channel("residual", *residual, nan=NOT_YET),
            Channel("converged", "residual within the tolerance asked for", dtype="bool"),
        ]

    def start(self, context: Context) -> Carry:
        return {} if self.freeze is None else {"trigger": self.freeze.start()}

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        here = curvature.flatten(list(snapshot.parameters.values()))
        after = dict(carry)
        if self.reference == "first":
            after.setdefault("reference", here)
        if "vector" not in after and self._fires(snapshot, after) and (frozen := self._frozen(snapshot)):
            after |= frozen
            after.setdefault("reference", here)
        return self._reading(snapshot, here, after), after

    def _fires(self, snapshot: Snapshot, carry: dict[str, Any]) -> bool:
        """Whether to freeze, now or since a solve failed to; the trigger's carry is brought up to date in `carry`."""
        if self.freeze is None or carry.get("fired"):
            return True
        firing, carry["trigger"] = snapshot.firing(self.freeze, carry["trigger"])
        carry["fired"] = firing is not None
        return firing is not None

    def _frozen(self, snapshot: Snapshot) -> dict[str, Any] | None:
        """The eigenvector with its evidence; None where it is not known, so that the next measurement has to do."""
        pairs, place = snapshot.eigenpairs(self.k, self.tolerance), self.k - 1
        vector = pairs.known_vectors[:, place].clone()
        if not bool(vector.isfinite().all()):
            return None
        return {
            "vector": vector,
            "frozen_step": snapshot.step,
            "eigenvalue_then": float(pairs.values[place]),
            "residual": float(pairs.residuals[place]),
            "converged": bool(pairs.converged[place]),
        }

    def _reading(self, snapshot: Snapshot, here: Tensor, carry: Mapping[str, Any]) -> Reading:
        reading = {"frozen_step": -1, "eigenvalue_then": torch.nan, "residual": torch.nan, "converged": False}
        reading |= {"projection": torch.nan, "effective_step": torch.nan, "step_along": torch.nan}
        if "vector" in carry:
            reading |= {name: carry[name] for name in ("frozen_step", "eigenvalue_then", "residual", "converged")}
            vector = carry["vector"].double()
            steps = snapshot.context.optimizer.lr / snapshot.preconditioner.double()
            reading["projection"] = (here.double() - carry["reference"].double()) @ vector
            reading["effective_step"] = steps @ vector.square()
            reading["step_along"] = (steps @ vector).abs()
        return reading
