"""How likely it is that a subspace has missed a large eigenvalue altogether, and where to look for it."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, pi, sqrt

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn.functional import pad

from studyrun.curvature.subspace import Ritz, Subspace, lengths

MARGIN = 0.05  # a missed eigenvalue matters if it exceeds the smallest one returned by this share of it,
RANGE_MARGIN = 1e-3  # and by this share of the largest |λ| seen,
RESIDUAL_MARGIN = 2.5  # and by so many residuals
SPENT = 0.8  # the share of the margin at which a sounding without a gap is taken; residuals use up the rest
TINY = 1e-60  # above 0, where all that was seen is 0
APART = 0.03  # the least share of an eigenvalue that counts as a gap below it


def certainty(size: int) -> float:
    """Return √(2p/π): a random unit vector z has |v·z| ≤ a, v any one direction, with probability at most this × a."""
    return sqrt(2 * size / pi)


def margin(ritz: Ritz, k: int, residual: float = 0.0) -> float:
    """Return by how much an eigenvalue must exceed θ_k to be worth finding."""
    return max(MARGIN * float(ritz.values[k - 1].abs()), RANGE_MARGIN * ritz.scale, RESIDUAL_MARGIN * residual) or TINY


def apart(ritz: Ritz, k: int) -> float:
    """Return how far below θ_k the next eigenvalue must lie for a gap to be seen between them."""
    return APART * max(float(ritz.values[k - 1].abs()), RANGE_MARGIN * ritz.scale)


class Sounding:
    """A random unit vector z in the subspace, by which what is hidden beside m columns Y of it is looked for.

    Let N be H compressed to the complement of Y. By Cauchy's interlacing no more than m eigenvalues of H lie above the
    largest one ν of N, with eigenvector w. Y was there before z was drawn, so w knows nothing of z. For any x in the
    complement w·z = w·(z − (ν − N) x), so that with x = (ν − T_N)⁻¹ z solved in the subspace

        |w·z| ≤ ‖u(ν)‖,   u(μ) = z − (μ − N) x(μ), the residual.

    A random z has |w·z| ≤ a with probability at most √(2p/π) a. So √(2p/π) ‖u(μ)‖, which falls as μ rises, is the
    doubt that more than m eigenvalues of H exceed a level μ: of all solves no more than a share δ ends with a doubt
    ≤ δ and is wrong, at whichever level and whenever it stops. Copies of an eigenvalue count, each for itself.

    Source: compare Kuczyński and Woźniakowski 1992 (SIAM J. Matrix Anal. Appl. 13), who bound the same risk beforehand.
    """

    def __init__(self, aside: Float64[Tensor, "m c"], drawn: Float64[Tensor, "m"]) -> None:
        self._aside, self._drawn = aside, drawn

    @property
    def held(self) -> int:
        """How many columns Y has."""
        return self._aside.shape[1]

    def rest(self, space: Subspace) -> Rest:
        """Return what the subspace knows of N."""
        aside, drawn = self._padded(space)
        across = torch.linalg.qr(aside, mode="complete").Q[:, self.held :]
        values, vectors = torch.linalg.eigh(across.T @ space.projection @ across)
        rotation = across @ vectors
        return Rest(space, values, rotation, rotation.T @ drawn)

    def keep(self, space: Subspace, level: float) -> Float64[Tensor, "m c"]:
        """Return the coordinates of Y, z and x, which a restart must keep for the doubt to survive it."""
        aside, drawn = self._padded(space)
        rest = self.rest(space)
        if level <= rest.highest:
            return torch.cat([aside, drawn[:, None]], dim=1)
        solution = rest.solution(level)[:, None]
        return torch.cat([aside, drawn[:, None], solution / solution.norm().clamp_min(1e-300)], dim=1)

    def restarted(self, space: Subspace, coordinates: Float64[Tensor, "m c"]) -> Sounding:
        """Return the same Y and z in the basis that `space` is about to be restarted with."""
        aside, drawn = self._padded(space)
        return Sounding(torch.linalg.qr(coordinates.T @ aside).Q, coordinates.T @ drawn)

    def _padded(self, space: Subspace) -> tuple[Tensor, Tensor]:
        missing = space.size - len(self._drawn)
        return pad(self._aside, (0, 0, 0, missing)), pad(self._drawn, (0, missing))


@dataclass(frozen=True, slots=True)
class Rest:
    """Rayleigh–Ritz for N: its Ritz values, ascending, their vectors' coordinates in the basis, and z along these."""

    space: Subspace
    values: Float64[Tensor, "r"]
    rotation: Float64[Tensor, "m r"]
    drawn: Float64[Tensor, "r"]

    @property
    def highest(self) -> float:
        """The largest Ritz value of N: ν is no less."""
        return float(self.values[-1]) if len(self.values) else -inf

    def level(self, ritz: Ritz, held: int, residual: float) -> float:
        """Return a level amid the gap below the first `held` Ritz values; −inf where none has been seen."""
        lowest = float(ritz.values[held - 1])
        amid = self.highest + (lowest - self.highest) / 2
        return amid if lowest - self.highest > apart(ritz, held) and amid < lowest - residual else -inf

    def size(self, level: float) -> float:
        """Return √μ, as far as its size goes: times this, neither x(μ), like 1 / μ, nor H x leaves the numbers."""
        return sqrt(max(abs(level), abs(self.highest)))

    def solution(self, level: float) -> Float64[Tensor, "m"]:
        """Return the coordinates of x(μ), times its size."""
        return self.rotation @ (self.drawn * (self.size(level) / (level - self.values)))

    def doubt(self, level: float) -> tuple[float, Float[Tensor, "1 p"]]:
        """Return √(2p/π) ‖u(μ)‖, inf where the subspace itself exceeds the level; and the direction to expand by, u."""
        sound = self.highest < level < inf
        above = level if sound else self.highest + (abs(self.highest) * MARGIN or TINY)
        solution = self.solution(above)[:, None]
        u = self.space.residual(solution, self.space.projection @ solution)
        return (certainty(u.shape[1]) * float(lengths(u)) / self.size(above) if sound else inf), u
