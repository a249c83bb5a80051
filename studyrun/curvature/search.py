"""The search for the largest eigenpairs: which direction to add next, and when there is nothing left to find."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from studyrun.curvature.operators import SymmetricOperator
from studyrun.curvature.sounding import Sounding
from studyrun.curvature.subspace import Ritz, Subspace, lengths
from studyrun.curvature.warm import WarmStart

PATIENCE = 8  # rounds in a row without progress after which there is none to hope for
PROGRESS = 0.7  # by which a residual or the doubt must shrink to count as progress
ROUNDING = 30  # the noise of a product, in units of machine epsilon times the operator's norm
UNWATCHED = 3  # solves in a row that may go by without a look at the guards
STIRRING = 0.1  # the share of chance in a guard
PATTERN = 1 << 16  # entries of a random vector that is drawn once and repeated
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
    accepted_doubt: float
    generator: torch.Generator
    last_product: int
    room: int
    doubt: float = 1.0
    space: Subspace = field(init=False)
    ritz: Ritz = field(init=False)
    gaps: Float[Tensor, "k p"] = field(init=False)
    """The residual vectors H y_i − θ_i y_i of the pairs wanted."""
    residuals: Float64[Tensor, "k"] = field(init=False)
    looked: bool = False
    """Whether the guards were looked at, or there were none to follow."""
    ceiling: float = inf
    """How high the eigenvalue below those started from may have come, if the guards were not looked at."""
    _followed: int = 0
    _below: Below | None = None
    _sounding: Sounding | None = None
    _settled: float = float("inf")
    _best: Tensor | None = None
    _idle: int = 0

    def __post_init__(self) -> None:
        self.space = Subspace(self.operator)
        self.room = max(self.room, 2 * self.wanted + self.guard + SPARE + 2)

    @property
    def converged(self) -> Bool[Tensor, "k"]:
        """Which of the pairs wanted have a residual within the tolerance."""
        return self.residuals <= self.tolerance * self.ritz.values[: self.wanted].abs()

    @property
    def released(self) -> bool:
        """Whether the start held pairs beyond those wanted: they are the guards now."""
        return self._followed > self.wanted

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
        """Look at the start, at `most` of its vectors, fill up at random, and sound if asked."""
        if start is not None:
            self._follow(start, explore, most)
        missing = self.wanted - self.space.size
        if missing > 0:
            self.looked = True
            self._sound(missing)
        elif explore:
            self._settled = float(self.space.ritz().values[: self.wanted].sum())
            self._sound(1)

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
        if explore or near or not whole or start["unwatched"] >= UNWATCHED:
            self.looked = True
            self.space.expand(self._stirred(start["guards"].T[: 2 * self.guard]))

    def _forgotten(self, start: WarmStart, pairs: int) -> Tensor:
        """The last solve's vectors, as rows, that a start from the solve before lacks though they stood clearly higher.

        Without them, two solves that hold different eigenvectors of one operator would each go on from its own.
        """
        ritz, rows = self.space.ritz(), start["vectors"].T.to(self.operator.device, self.operator.dtype)
        higher = start["values"] > ritz.values[pairs - 1] + Sounding.margin(ritz, pairs)
        lacking = self.space.coordinates(rows).square().sum(dim=0) < FAMILIAR
        return rows[(higher & lacking).to(rows.device)]

    def _stirred(self, guards: Tensor) -> Tensor:
        """The guards with chance mixed in: no direction stays closed to them."""
        rows = guards.to(self.operator.device, self.operator.dtype)
        return rows + STIRRING * self._pattern(len(rows))

    def run(self) -> None:
        """Grow the space until the pairs are converged and nothing larger is likely, or no progress is left."""
        while True:
            self._examine()
            if self.space.full:
                self.doubt = 0.0
                return
            if self._left <= 0 or not self._grow():
                return

    def exceeds(self, level: float) -> bool:
        """Whether all pairs are converged and even the smallest lies above `level`."""
        return bool(self.converged.all()) and float(self.ritz.values[self.wanted - 1]) > level

    def widen(self) -> None:
        """Want one pair more, starting from what the space already holds."""
        self.wanted += 1
        self.room = max(self.room, 2 * self.wanted + self.guard + SPARE + 2)
        self._best, self._idle = None, 0
        if self.space.size < self.wanted:
            self.space.expand(self._random(1))

    @property
    def _left(self) -> int:
        return self.last_product - self.operator.products

    def _examine(self) -> None:
        self.ritz = self.space.ritz()
        top = self.ritz.rotation[:, : self.wanted]
        self.gaps = self.space.residual(top, top * self.ritz.values[: self.wanted])
        self.residuals = lengths(self.gaps)
        self._below = None

    def _grow(self) -> bool:
        """Take the next step, and say whether there was one."""
        epsilon = torch.finfo(self.operator.dtype).eps
        noise = ROUNDING * epsilon * self.ritz.scale
        still_open = ~self.converged
        if still_open.any():
            close = float(self.residuals.max()) <= epsilon**0.5 * self.ritz.scale
            if self._stalled() and close:
                return False
            gaps = self.gaps if still_open.all() else self.gaps[still_open.to(self.gaps.device)]
            return self._expand(gaps, noise)
        reaching = self._reaching() if self.looked else self.gaps[:0]
        if len(reaching) and not self._stalled() and self._expand(reaching, noise):
            return True
        if self._sounding is None:
            return False
        self.doubt, direction = self._sounding.doubt(self.space, self.ritz, self.wanted)
        if self.doubt > self.accepted_doubt:
            return not self._stalled() and self._expand(direction, 0.0)
        return self._found_more() and self._sound(1)

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

    def _sound(self, count: int) -> bool:
        """Add random vectors and sound with the first of them. Chance alone decides what they are blind to."""
        drawn = self._random(count)
        if not self.space.expand(drawn):
            return False
        self._sounding, self._best = Sounding(self.space.coordinates(drawn[:1])[:, 0]), None
        return True

    def _random(self, count: int) -> Tensor:
        """Random unit vectors, as rows: from a generator on the CPU the same on every device."""
        shape = (count, self.operator.size)
        drawn = torch.randn(shape, generator=self.generator, dtype=self.operator.dtype, device=self.generator.device)
        drawn /= lengths(drawn)[:, None].to(drawn)
        return drawn.to(self.operator.device)

    def _pattern(self, count: int) -> Tensor:
        """Unit vectors of a random pattern repeated under random signs: a tenth of the price of a random vector."""
        dtype, home = self.operator.dtype, self.generator.device
        repeats = -(-self.operator.size // PATTERN)
        drawn = torch.randn((count, 1, PATTERN), generator=self.generator, dtype=dtype, device=home)
        signs = torch.randn((count, repeats, 1), generator=self.generator, dtype=dtype, device=home).sign()
        whole = (signs.to(self.operator.device) * drawn.to(self.operator.device)).view(count, repeats * PATTERN)
        rows: Tensor = whole[:, : self.operator.size] / self.operator.size**0.5
        return rows

    def _found_more(self) -> bool:
        """Whether the last sounding raised what is wanted: then what it found may hide another of its kind."""
        total, before = float(self.ritz.values[: self.wanted].sum()), self._settled
        self._settled = total
        return total - before > Sounding.margin(self.ritz, self.wanted)

    def _stalled(self) -> bool:
        """Whether neither a residual nor the doubt has made progress for a while."""
        now = torch.cat([self.residuals, torch.tensor([self.doubt], dtype=torch.float64)])
        best = torch.full_like(now, torch.inf) if self._best is None else self._best
        self._idle = 0 if bool((now < PROGRESS * best).any()) else self._idle + 1
        self._best = torch.minimum(now, best)
        return self._idle > PATIENCE

    def _restart(self) -> None:
        """Keep the best Ritz vectors, and what the sounding needs."""
        kept = self.ritz.rotation[:, : self.wanted + self.guard + SPARE]
        if self._sounding is not None:
            kept = torch.cat([kept, self._sounding.keep(self.space, self.ritz, self.wanted)], dim=1)
        kept = torch.linalg.qr(kept).Q
        if self._sounding is not None:
            self._sounding = self._sounding.restarted(self.space, kept)
        self.space.restart(kept)
        self._examine()
