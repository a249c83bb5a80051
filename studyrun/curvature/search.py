"""The search for the largest eigenpairs: which direction to add next, and when there is nothing left to find."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import hypot, inf

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from studyrun.curvature.explored import LOST, Explored, doubt_now
from studyrun.curvature.gaussian import patterns, random_directions
from studyrun.curvature.operators import SymmetricOperator
from studyrun.curvature.sounding import margin
from studyrun.curvature.subspace import Ritz, Subspace, lengths
from studyrun.curvature.warm import WarmStart

PATIENCE = 8  # rounds in a row without progress after which there is none to hope for
PROGRESS = 0.7  # by which a residual or the doubt must shrink, since it last did so, to count as progress
ROUNDING = 30  # the noise of a product, in units of machine epsilon times the operator's norm
UNWATCHED = 3  # solves in a row that may go by without a look at the guards
STIRRING = 0.1  # the share of chance in a guard
FAMILIAR = 0.5  # the share of a vector's square by which it counts as held in a space
SPARE = 4  # Ritz vectors that a restart keeps beyond `wanted` and `guard`


@dataclass(frozen=True, slots=True)
class Below:
    """Ritz pairs (θ_i, y_i): the coordinates of y_i in the basis, θ_i, and H y_i − θ_i y_i as rows with their norms."""

    coordinates: Float64[Tensor, "m g"]
    values: Float64[Tensor, "g"]
    gaps: Float[Tensor, "g p"]
    residuals: Float64[Tensor, "g"]


@dataclass
class Search:
    """One solve. `seed` fills the space, `run` grows it; the state is left for the caller to read."""

    operator: SymmetricOperator
    wanted: int
    guard: int
    tolerance: float
    generator: torch.Generator
    last_product: int
    room: int
    doubt: float = inf
    """That more was missed than `evidence` allows, or without it an eigenvalue beyond the margin."""
    evidence: Explored | None = None
    """What bounds the rest of the spectrum: an exploration of this solve, or else of an earlier one."""
    space: Subspace = field(init=False)
    ritz: Ritz = field(init=False)
    looked: bool = False
    """Whether the guards were looked at, or there were none to follow."""
    ceiling: float = inf
    """How high the eigenvalue below those started from may have come, if the guards were not looked at."""
    _gaps: Float[Tensor, "t p"] = field(init=False)
    _residuals: Float64[Tensor, "t"] = field(init=False)
    _followed: int = 0
    _below: Below | None = None
    _best: Tensor | None = None
    _idle: int = 0

    def __post_init__(self) -> None:
        self.space = Subspace(self.operator)
        self._make_room()

    def _make_room(self) -> None:
        self.room = max(self.room, 3 * self.wanted + 2 * self.guard + SPARE + 4)
        self._best, self._idle = None, 0

    @property
    def residuals(self) -> Float64[Tensor, "k"]:
        """‖H y_i − θ_i y_i‖ of the pairs wanted."""
        return self._residuals[: self.wanted]

    @property
    def converged(self) -> Bool[Tensor, "k"]:
        """Which of the pairs wanted have a residual within the tolerance."""
        return self.residuals <= self.tolerance * self.ritz.values[: self.wanted].abs()

    def residual(self, count: int) -> float:
        """The norm of all residuals of the first `count` pairs, inf where there are not as many."""
        known = torch.cat([self.residuals, self.below.residuals])
        return hypot(*known[:count].tolist()) if count <= len(known) else inf

    @property
    def released(self) -> bool:
        """Whether the start held pairs beyond those wanted: they are the guards now."""
        return self._followed > self.wanted

    @property
    def _tracked(self) -> int:
        """How many pairs are to converge."""
        return self.wanted

    @property
    def below(self) -> Below:
        """The Ritz pairs just below those wanted: the guards, or one if there are to be none."""
        if self._below is None:
            beyond = slice(self.wanted, self.wanted + max(self.guard, 1))
            coordinates, values = self.ritz.rotation[:, beyond], self.ritz.values[beyond]
            gaps = self.space.residual(coordinates, coordinates * values)
            self._below = Below(coordinates, values, gaps, lengths(gaps))
        return self._below

    def seed(self, start: WarmStart | None, explore: bool, most: int) -> None:
        """Look at the start, at `most` of its vectors, and fill up at random."""
        if start is not None:
            self._follow(start, explore, most)
        missing = self.wanted - self.space.size
        if missing > 0:
            self.looked = True
            self.space.expand(random_directions(self.operator, missing, self.generator))

    def _follow(self, start: WarmStart, explore: bool, most: int) -> None:
        """Look at the vectors that come nearest, and at the guards if one of these may have overtaken a pair.

        A pair (θ, v) of the old operator gives ‖ΔH v‖ = ‖H v − θ v‖, by how much the operator has changed along v. The
        guards' eigenvalue is taken to have risen by no more: until that could have lifted it to the lowest pair they
        need no product, save that a change which spares v is not seen so, and they are looked at now and then.
        """
        backwards = start["alternates"] and start["previous"].shape[1] >= self.wanted
        columns, values = start["vectors"], start["values"]
        if backwards:
            columns, values = start["previous"], start["previous_values"]
        rows = columns.T[:most].to(self.operator.device, self.operator.dtype)
        whole = self.space.expand(rows) == len(rows) > 0
        self.ceiling, self._followed = start["ceiling"], len(rows)
        if whole and len(values) >= len(rows):
            self.ceiling += self.space.change(values[: len(rows)])
        near = whole and self.ceiling >= float(self.space.ritz().values[len(rows) - 1])
        if backwards and whole:
            self.space.expand(self._forgotten(start, len(rows)))
        if not explore and (evidence := start.get("explored")):
            self.evidence = evidence
            self.doubt, moved = doubt_now(evidence, self.operator)
            if self.doubt >= LOST:
                self.space.expand(moved)
        held = self.evidence["held"] if self.evidence else 0
        if explore or near or not whole or start["unwatched"] >= UNWATCHED or held > len(rows):
            self.looked = True
            self.space.expand(self._stirred(start["guards"].T[: 2 * self.guard]))

    def _forgotten(self, start: WarmStart, pairs: int) -> Tensor:
        """The last solve's vectors, as rows, that a start from the solve before lacks though they stood clearly higher.

        Without them, two solves that hold different eigenvectors of one operator would each go on from its own.
        """
        ritz, rows = self.space.ritz(), start["vectors"].T.to(self.operator.device, self.operator.dtype)
        higher = start["values"] > ritz.values[pairs - 1] + margin(ritz, pairs)
        lacking = self.space.coordinates(rows).square().sum(dim=0) < FAMILIAR
        return rows[(higher & lacking).to(rows.device)]

    def _stirred(self, guards: Tensor) -> Tensor:
        """The guards with chance mixed in: no direction stays closed to them."""
        rows = guards.to(self.operator.device, self.operator.dtype)
        return rows + STIRRING * patterns(self.operator, len(rows), self.generator)

    def run(self) -> None:
        """Grow the space until nothing is left to do, or no progress is."""
        while True:
            self._examine()
            if self.space.full or self._left <= 0 or not self._grow():
                return

    def exceeds(self, level: float) -> bool:
        """Whether all pairs are converged and even the smallest lies above `level`."""
        return bool(self.converged.all()) and float(self.ritz.values[self.wanted - 1]) > level

    def widen(self) -> None:
        """Want one pair more, starting from what the space already holds."""
        self.wanted += 1
        self._make_room()
        if self.space.size < self.wanted:
            self.space.expand(random_directions(self.operator, 1, self.generator))

    @property
    def _left(self) -> int:
        return self.last_product - self.operator.products

    def _examine(self) -> None:
        self.ritz = self.space.ritz()
        top = self.ritz.rotation[:, : self._tracked]
        self._gaps = self.space.residual(top, top * self.ritz.values[: self._tracked])
        self._residuals = lengths(self._gaps)
        self._below = None

    def _grow(self) -> bool:
        """Take the next step, and say whether there was one."""
        epsilon = torch.finfo(self.operator.dtype).eps
        noise = ROUNDING * epsilon * self.ritz.scale
        still_open = self._residuals > self.tolerance * self.ritz.values[: len(self._residuals)].abs()
        if still_open.any():
            close = float(self._residuals.max()) <= epsilon**0.5 * self.ritz.scale
            if self._stalled() and close:
                return False
            gaps = self._gaps if still_open.all() else self._gaps[still_open.to(self._gaps.device)]
            return self._expand(gaps, noise)
        reaching = self._reaching() if self.looked else self._gaps[:0]
        if len(reaching) and not self._stalled() and self._expand(reaching, noise):
            return True
        return self._look_further()

    def _look_further(self) -> bool:
        """Take a step for what is not seen at all, and say whether there was one."""
        return False

    def _reaching(self) -> Tensor:
        """The residuals, as rows, of unresolved guards that one more direction could lift above θ_k, as at a crossing.

        With residual r, and curvature ρ along it, a Ritz value θ becomes the larger eigenvalue of [[θ, r], [r, ρ]].
        ρ is unknown before the product: most directions have next to none; half of θ is on the safe side.
        """
        values, residuals = self.below.values[: self.guard], self.below.residuals[: self.guard]
        along = torch.where(values > 0, values / 2, values)
        reach = (values + along) / 2 + torch.hypot((values - along) / 2, residuals)
        lowest = self.ritz.values[self.wanted - 1]
        rising = (reach > lowest) & (residuals > self.tolerance * lowest.abs())
        gaps = self.below.gaps[: self.guard]
        return gaps[rising.to(gaps.device)]

    def _expand(self, directions: Tensor, noise: float) -> bool:
        if self.space.size + len(directions) > self.room:
            self._restart()
        return self.space.expand(directions[: self._left], noise) > 0

    def _stalled(self) -> bool:
        """Whether neither a residual nor the doubt has made progress for a while, however small the steps."""
        now = torch.cat([self._residuals, torch.tensor([self.doubt], dtype=torch.float64)])
        if self._best is None or len(self._best) != len(now):
            self._best = torch.full_like(now, inf)
        better = now < PROGRESS * self._best
        self._idle = 0 if bool(better.any()) else self._idle + 1
        self._best = now.where(better, self._best)
        return self._idle > PATIENCE

    def _restart(self) -> None:
        """Keep the best Ritz vectors, and what else is needed."""
        self.space.restart(self._kept())
        self._examine()

    def _kept(self) -> Float64[Tensor, "m c"]:
        """Coordinates of what a restart keeps, orthonormal."""
        return self.ritz.rotation[:, : self.wanted + self.guard + SPARE]
