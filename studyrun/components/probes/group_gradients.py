"""How long each group's gradient is, and which way it points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import sqrt
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from studyrun.plugin import Carry, Channel, Context, Dimension, Field, Probe, Reading, Snapshot, curvature

AT_ONCE = 2**18  # entries of the random vectors in memory at a time: 2 MiB in float64, which caches hold


class GroupGradients(Probe):
    """Norm of each group's gradient, its cosines to the others and to the whole, and a sketch of its direction.

    With ∇ℓ_k the gradient of group k's mean loss and u_k = ∇ℓ_k / ‖∇ℓ_k‖: ‖∇ℓ_k‖, u_k · ∇L / ‖∇L‖, u_k · u_j, and the
    inner products u_k · r_j with fixed random unit vectors r_j, their entries ±1/√p. Two arms' gradients compare by
    their sketches: the cosine of two sketches estimates that of the directions with a standard error of about
    (1 − cos²)/√m for m random vectors, and is exactly 1 for one direction twice. NaN where a gradient vanishes.

    The vectors are the same at every step of every arm: they come from a seed that this probe draws at its first
    measurement and hands on to every branch. It is recorded: sketches compare where `drawn_from` is equal. Cost: one
    gradient on the groups' examples, shared with `group_alignment`, and m · p random signs, made in pieces that caches
    hold: about 0.5 s on one core for 1.8 million parameters and 64 vectors.

    Source: Kwag et al. 2026, arXiv 2606.04212, whose arms it compares; Achlioptas 2003 (random signs).
    """

    cites: ClassVar[tuple[str, ...]] = ("arXiv:2606.04212",)
    figures: ClassVar[tuple[str, ...]] = ("fork_gradients",)
    default_schedule: ClassVar[Mapping[str, Any]] = {"every": 10}

    directions: Annotated[int, Field(ge=1, le=4096)] = 64
    """How many random vectors m: the standard error of a cosine between arms is at most 1/√m."""

    def channels(self, context: Context) -> Sequence[Channel]:
        group, other = Dimension("group", context.groups), Dimension("other_group", context.groups)
        direction, zero = Dimension.of_size("direction", self.directions), "a gradient is zero"
        between, whole = "cosine between two groups' gradients", "cosine to the whole gradient"
        sketch = "inner product of the gradient's direction with fixed random unit vectors"
        return [
            Channel("norm", "norm of the group's gradient", (group,), "‖∇ℓ_k‖", "loss / parameter"),
            Channel("cosine_to_whole", whole, (group,), "cos(∇ℓ_k, ∇L)", nan=zero),
            Channel("cosine", between, (group, other), "cos(∇ℓ_k, ∇ℓ_j)", nan=zero),
            Channel("sketch", sketch, (group, direction), "u_k · r_j", nan=zero),
            Channel("drawn_from", "seed of the random unit vectors", (), "seed", dtype="int64"),
        ]

    def measure(self, snapshot: Snapshot, carry: Carry) -> tuple[Reading, Carry]:
        seed = snapshot.generator("group gradients").initial_seed() if carry is None else int(carry)
        groups, whole = snapshot.group_gradients, snapshot.gradient
        products, sketch = self._products(groups, whole, seed)
        norms = products.diagonal().sqrt()
        cosines = products / (norms[:, None] * norms)
        reading = {
            "norm": (_magnitudes(groups, whole) * norms)[1:],
            "cosine_to_whole": cosines[0, 1:],
            "cosine": cosines[1:, 1:],
            "sketch": sketch / norms[1:, None],
            "drawn_from": seed,
        }
        return reading, seed

    def _products(self, groups: Tensor, whole: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Inner products among the whole gradient and the groups', (g + 1, g + 1); with the random vectors, (g, m).

        Each gradient is divided by its own magnitude, lest squares vanish.
        """
        scale = _magnitudes(groups, whole)
        products = groups.new_zeros((len(groups) + 1, len(groups) + 1), dtype=torch.float64)
        sketch = groups.new_zeros((len(groups), self.directions), dtype=torch.float64)
        for piece, signs in self._signs(len(whole), seed):
            rows = torch.cat([whole[None, piece], groups[:, piece]]).double() / scale[:, None]
            products += rows @ rows.T
            sketch += rows[1:] @ signs.to(rows).T
        return products, sketch / sqrt(len(whole))

    def _signs(self, parameters: int, seed: int) -> Iterator[tuple[slice, Tensor]]:
        """The random signs (m, some) piece by piece, on the CPU whatever the device, so that both have the same."""
        generator, size = torch.Generator().manual_seed(seed), max(1, AT_ONCE // self.directions)
        for start in range(0, parameters, size):
            stop = min(start + size, parameters)
            drawn = torch.randint(256, (-(-self.directions // 8), stop - start), generator=generator, dtype=torch.uint8)
            bits = torch.cat([(drawn >> place) & 1 for place in range(8)])[: self.directions]
            yield slice(start, stop), 2 * bits.to(torch.int8) - 1


def _magnitudes(groups: Tensor, whole: Tensor) -> Tensor:
    """Powers of two near the largest entries of the whole gradient and the groups', (g + 1,)."""
    return torch.cat([curvature.magnitudes(whole[None]), curvature.magnitudes(groups)])
