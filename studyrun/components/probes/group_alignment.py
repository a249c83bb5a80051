"""Which groups pull along the sharpest direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    Reading,
    Snapshot,
    curvature,
    eigenvector_evidence,
)

ZERO = "the group's gradient is zero, or no more than the rounding of the parameters makes of it"
SMALL = 0.75  # a gradient below ε to this power times λ_1 ‖θ‖ may be rounding, and is held against a rounded one
NOISE = 0.05  # the share of a gradient that a change of the last bits may make up


class GroupAlignment(Probe):
    """Alignment of each group's gradient with the top Hessian eigenvector, and its curvature influence.

    With ∇ℓ_k the gradient of group k's mean loss and v_1 the top eigenvector of the Hessian of the whole training
    loss: cos²θ_k = (∇ℓ_k · v_1)² / ‖∇ℓ_k‖², C_k = (∇ℓ_k · v_1)², and ‖∇ℓ_k‖. cos² is NaN where a gradient vanishes,
    and with C_k where v_1 is not known. To any vector it is off by `angle` at most, for which a second eigenpair is
    solved for. Once a gradient is as small as rounding could make it (in float32 at losses below 1e-9 or so), it is
    taken again with the last bits of the parameters changed at random, and cos² is NaN where that changes more than a
    twentieth of it: a computed gradient is that of parameters so rounded, and no better known.
    Cost: one gradient evaluation on the groups' examples, two where they are so small, and the eigenpair solve it
    shares with `sharpness`.

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
            "cos2": (along / norms).square().where(~self._rounded(snapshot, pairs, gradients, norms), torch.nan),
            "influence": along.square(),
            "gradient_norm": norms,
            **pairs.vector_evidence(),
        }
        return reading, carry

    def _rounded(self, snapshot: Snapshot, pairs: curvature.Eigenpairs, gradients: Tensor, norms: Tensor) -> Tensor:
        """Which gradients, (g, p) of these norms, change by much with the last bits of the parameters, bool (g,)."""
        own, epsilon = list(snapshot.parameters.values()), torch.finfo(snapshot.context.dtype).eps
        size = float(curvature.norms(curvature.flatten(own)[None]))
        small: Tensor = norms < epsilon**SMALL * float(pairs.values[0].abs()) * size
        if not bool(small.any()):
            return small
        generator, grouping, train = (
            snapshot.generator("rounding"),
            snapshot.context.grouping,
            snapshot.context.data.train,
        )
        assert grouping is not None, "channels() has refused a study without groups"
        signs = [torch.randn(part.shape, generator=generator).sign().to(part) for part in own]
        moved = [part + epsilon * part * sign for part, sign in zip(own, signs, strict=True)]
        members = list(grouping.members.values())
        again = curvature.group_gradients(
            snapshot.per_example, moved, train.inputs, train.targets, members, snapshot.chunk_size
        )
        changed: Tensor = curvature.norms(again.double() - gradients) > NOISE * norms
        found: Tensor = small & changed
        return found
