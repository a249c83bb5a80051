"""Slope and curvature of each example's loss along one direction, for all examples at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jvp

from studyrun.curvature.flat import PerExampleLoss, check_losses, chunks, leaves, unflatten
from studyrun.curvature.memory import ran_out_of_memory
from studyrun.curvature.primitives import primitives, twice_differentiable
from studyrun.curvature.reverse import dot, gradients

Path = Literal["forward", "reverse", "one by one"]
EXAMPLES_TO_CHECK = 4


@dataclass(frozen=True)
class DirectionalDerivatives:
    """Derivatives of each example's loss along a direction v, and how they were found.

    `slopes` ∇ℓ_i · v; `curvatures` vᵀH_i v, where they were asked for; `path`: the fastest that passed its check.
    """

    slopes: Float[Tensor, "n"]
    curvatures: Float[Tensor, "n"] | None
    path: Path


@dataclass(frozen=True)
class Line:
    """The losses of some examples, and the line θ + ε v along which they are followed."""

    per_example: PerExampleLoss
    parameters: Sequence[Tensor]
    direction: Sequence[Tensor]
    inputs: Tensor
    targets: Tensor

    def losses(self, *parameters: Tensor) -> Tensor:
        """Return the losses at other parameters."""
        losses = self.per_example(parameters, self.inputs, self.targets)
        check_losses(losses, len(self.inputs))
        return losses

    def take(self, chunk: slice) -> Line:
        """Return the same for some of the examples."""
        return Line(self.per_example, self.parameters, self.direction, self.inputs[chunk], self.targets[chunk])


Derivatives = tuple[Tensor, ...]  # slopes (n,), and curvatures (n,) if asked for
Way = Callable[[Line, bool], Derivatives]


def directional_derivatives(
    per_example: PerExampleLoss,
    parameters: Sequence[Tensor],
    inputs: Tensor,
    targets: Tensor,
    direction: Float[Tensor, "p"],
    chunk_size: int | None = None,
    *,
    curvatures: bool = True,
) -> DirectionalDerivatives:
    """Return dℓ_i(θ + εv)/dε and d²ℓ_i(θ + εv)/dε² at ε = 0 for every example: ∇ℓ_i · v and vᵀH_i v.

    By nested forward mode, through `primitives`, with no graph in memory: 7 forward passes (MLP) to 12 (ResNet-18,
    vision transformer), slopes alone 3 to 5. Every call first holds the result on a few examples, along v itself,
    against one reverse pass over another, which PyTorch gets right for all layers known; where they disagree, or where
    a function has no forward derivative, the path is "reverse": s_i and c_i are the gradients of Σ u_i s_i and
    Σ u_i c_i in u, three reverse passes. Should that fail the same check, examples are worked through "one by one", two
    reverse passes each.

    Where examples see one another, as under batch normalisation in training mode, each loss is that of its chunk, and
    v moves the whole chunk. Raises ValueError for a direction of another size, and where there are no examples.

    Source for the three reverse passes: Townsend 2017, "A new trick for calculating Jacobian vector products".
    """
    if len(inputs) == 0:
        raise ValueError("there are no examples to differentiate")
    line = along(per_example, parameters, inputs, targets, direction)
    path = _path(line.take(slice(0, EXAMPLES_TO_CHECK)), curvatures)
    found = [WAYS[path](line.take(chunk), curvatures) for chunk in chunks(len(inputs), chunk_size)]
    slopes, *second = (torch.cat(parts) for parts in zip(*found, strict=True))
    return DirectionalDerivatives(slopes, second[0] if second else None, path)


def along(
    per_example: PerExampleLoss,
    parameters: Sequence[Tensor],
    inputs: Tensor,
    targets: Tensor,
    direction: Float[Tensor, "p"],
) -> Line:
    """Return the line through θ along a flat direction."""
    own = [parameter.detach() for parameter in parameters]
    return Line(per_example, own, unflatten(direction.detach(), own), inputs.detach(), targets)


def cosines_squared(slopes: Float[Tensor, "n"], gradient_norms: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Return cos²(∇ℓ_i, v) = (∇ℓ_i · v)² / ‖∇ℓ_i‖² for a unit vector v, NaN where the gradient is zero."""
    return (slopes / gradient_norms).square().clamp_max(1)


def forward(line: Line, curvatures: bool) -> Derivatives:
    """Differentiate along ε once or twice in forward mode. No intermediate value outlives its use.

    Gradients stay enabled, though nothing asks for one: where they are not, PyTorch takes kernels such as
    silu_backward that have no forward derivative.
    """
    primals, tangents = tuple(line.parameters), tuple(line.direction)
    with torch.enable_grad(), primitives():
        if not curvatures:
            return (jvp(line.losses, primals, tangents)[1],)
        first: Derivatives = jvp(lambda *point: jvp(line.losses, point, tangents)[1], primals, tangents)
        return first


def reverse(line: Line, curvatures: bool) -> Derivatives:
    """Take Σ u_i s_i = ∇(u · ℓ) · v, and Σ u_i c_i likewise, and differentiate in u, where they are linear."""
    own = leaves(line.parameters)
    with torch.enable_grad(), primitives():
        losses = line.losses(*own)
        weights = torch.zeros_like(losses, requires_grad=True)
        sums = _derivatives((weights * losses).sum(), own, line.direction, curvatures)
        return tuple(gradients(part, [weights], keep=False)[0].detach() for part in sums)


def one_by_one(line: Line, curvatures: bool) -> Derivatives:
    """Differentiate each loss twice in reverse mode, the plainest way there is, on the graph of all of them."""
    own = leaves(line.parameters)
    with torch.enable_grad(), twice_differentiable():
        rows = [_derivatives(loss, own, line.direction, curvatures, keep=False) for loss in line.losses(*own)]
    return tuple(torch.stack(column).detach() for column in zip(*rows, strict=True))


WAYS: dict[Path, Way] = {"forward": forward, "reverse": reverse, "one by one": one_by_one}


def _derivatives(
    value: Tensor, parameters: Sequence[Tensor], direction: Sequence[Tensor], curvatures: bool, *, keep: bool = True
) -> list[Tensor]:
    """Return the slope of a scalar along the direction, and its curvature if asked for; `keep` their graphs."""
    found = []
    for graph in (True, keep) if curvatures else (keep,):
        value = dot(gradients(value, parameters, keep=graph), direction)
        found.append(value)
    return found


def _path(few: Line, curvatures: bool) -> Path:
    """Return the fastest way that is right on a few examples."""
    for path in ("forward", "reverse"):
        if _is_right(WAYS[path], few, curvatures):
            return path
    return "one by one"


def _is_right(way: Way, few: Line, curvatures: bool) -> bool:
    """Whether a way agrees, on a sum of losses with weights that nothing cancels in, with two reverse passes.

    A wrong formula is off by something like its own size, rounding by some hundred ε of the terms that were added up;
    √ε lies between the two. The terms are as large as the values of single examples, and as ‖v‖ ‖∇‖ and ‖v‖ ‖Hv‖.
    """
    weights = torch.linspace(1, 2, len(few.inputs), dtype=few.parameters[0].dtype, device=few.parameters[0].device)
    try:
        found = way(few, curvatures)
    except (NotImplementedError, RuntimeError) as error:  # no forward derivative, or none under torch.func
        if ran_out_of_memory(error):
            raise
        return False
    truth, scales = _truth(few, weights, curvatures)
    epsilon = torch.finfo(weights.dtype).eps
    for values, exact, scale in zip(found, truth, scales, strict=True):
        allowed = epsilon**0.5 * (scale + (weights * values).abs().sum())
        off = ((weights * values).sum() - exact).abs()
        if not bool(off <= allowed) and bool(exact.isfinite()):
            return False
    return True


def _truth(few: Line, weights: Tensor, curvatures: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Return slope and curvature of Σ w_i ℓ_i by reverse mode, and the sizes of what was added up for each.

    Normalisations are left fused here, so that `primitives` is checked too.
    """
    own, exact, scales = leaves(few.parameters), [], []
    length = torch.stack([way.norm() for way in few.direction]).norm()
    with torch.enable_grad(), twice_differentiable():
        value = (weights * few.losses(*own)).sum()
        for keep in (True, False) if curvatures else (False,):
            parts = gradients(value, own, keep=keep)
            value = dot(parts, few.direction)
            exact.append(value.detach())
            scales.append(length * torch.stack([part.detach().norm() for part in parts]).norm())
    return exact, scales
