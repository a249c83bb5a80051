"""An orthonormal basis that grows, with its image under an operator: the workbench of Rayleigh–Ritz."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from studyrun.curvature.operators import SymmetricOperator
from studyrun.curvature.sizes import norms, unit

SLICE = 1 << 12  # entries that are summed in the operator's own precision
CACHED = 1 << 20  # entries that are combined at a time: what is read stays in the processor's caches
SAFE = 0.05  # the share of its square that must be left of a direction for inner products alone to place it
SPARE = 6  # rows beyond those that are needed at first: one that is never written to costs next to nothing


class NonFiniteProductError(ArithmeticError):
    """The operator returned NaN or infinity, so there is no spectrum to find."""


@dataclass(frozen=True, slots=True)
class Ritz:
    """Ritz values, descending, and the coordinates of their vectors in the basis, as columns of `rotation`."""

    values: Float64[Tensor, "m"]
    rotation: Float64[Tensor, "m m"]

    @property
    def scale(self) -> float:
        """The largest |Ritz value|: the norm of the operator, as far as it is known."""
        return float(self.values.abs().max())


class Subspace:
    """An orthonormal basis V (p, m), its image H V (p, m), and the projection T = Vᵀ H V (m, m) in float64 on the CPU.

    Vectors are rows in memory, so that one is contiguous and a product with all of them is a single sweep. They are
    held in the operator's precision; T is summed so that it is as good as V and H V are.
    """

    def __init__(self, operator: SymmetricOperator) -> None:
        self.size = 0
        self._operator = operator
        self._projection = torch.zeros(0, 0, dtype=torch.float64)
        self._basis = torch.empty(0, operator.size, dtype=operator.dtype, device=operator.device)
        self._image = torch.empty_like(self._basis)

    @property
    def full(self) -> bool:
        """Whether the basis spans everything."""
        return self.size == self._operator.size

    def expand(self, directions: Float[Tensor, "b p"], noise: float = 0.0) -> int:
        """Add what is new in `directions` (rows), one product each, and return how many were new.

        A direction of which no more than `noise` is left, or rounding alone, is dropped.
        """
        first = self.size
        self._make_room(len(directions))
        if not self._append_together(directions, noise):
            for direction in directions:
                self._append(direction, noise)
        if self.size > first:
            self._apply(first)
        return self.size - first

    @property
    def projection(self) -> Float64[Tensor, "m m"]:
        """T."""
        return self._projection

    def ritz(self) -> Ritz:
        """Return the eigenpairs of T. Raises NonFiniteProductError where they are too large for a number."""
        values, rotation = torch.linalg.eigh(self._projection)
        if not torch.isfinite(values).all():
            raise NonFiniteProductError
        return Ritz(values.flip(0), rotation.flip(1))

    def coordinates(self, vectors: Float[Tensor, "b p"]) -> Float64[Tensor, "m b"]:
        """Return Vᵀ x for each row x."""
        return inner(self._basis[: self.size], vectors)

    def combine(self, coordinates: Float64[Tensor, "m c"]) -> Float[Tensor, "c p"]:
        """Return V a, as a row, for each column a."""
        return self._combined((self._basis[: self.size], coordinates))

    def residual(self, image: Float64[Tensor, "m c"], basis: Float64[Tensor, "m c"]) -> Float[Tensor, "c p"]:
        """Return H V a − V b, as a row, for each pair of columns a of `image` and b of `basis`."""
        return self._combined((self._basis[: self.size], -basis), (self._image[: self.size], image))

    def change(self, values: Float64[Tensor, "m"]) -> float:
        """Return max ‖H x_i − θ_i x_i‖ over the basis vectors x_i, θ_i being what an earlier operator had there."""
        lengthened, along = lengths(self._image[: self.size]), self._projection.diag()
        size = float(torch.cat([lengthened, values.abs()]).max()) or 1.0  # their squares may be no numbers
        squares = (lengthened / size).square() - 2 * (values / size) * (along / size) + (values / size).square()
        return size * sqrt(float(squares.clamp_min(0).max()))

    def restart(self, coordinates: Float64[Tensor, "m c"]) -> None:
        """Replace the basis by V a for the orthonormal columns a. No product is spent."""
        basis, image = self.combine(coordinates), self._combined((self._image[: self.size], coordinates))
        self.size = coordinates.shape[1]
        self._basis[: self.size], self._image[: self.size] = basis, image
        self._projection = coordinates.T @ self._projection @ coordinates

    def _append_together(self, directions: Tensor, noise: float) -> bool:
        """Orthonormalise all at once, by their inner products alone: a few sweeps in place of many.

        False, with nothing done, unless much is left of each direction: then inner products tell it to rounding, if
        their squares do not come near the smallest number there is.
        """
        known, limits = self._basis[: self.size], torch.finfo(directions.dtype)
        along, among = inner(known, directions), inner(directions, directions)
        left, least = among - along.T @ along, max(noise * noise, self._operator.size * limits.tiny / limits.eps)
        clear = left.diag() > torch.maximum(SAFE * among.diag(), torch.tensor(least, dtype=torch.float64))
        if not len(directions) or not bool(clear.all()) or self.size + len(directions) > self._operator.size:
            return False
        scale = left.diag().rsqrt()
        factor, singular = torch.linalg.cholesky_ex(left * scale * scale[:, None])
        mix = torch.linalg.solve_triangular(factor, torch.diag(scale), upper=False)
        if singular or float((mix / scale).square().sum(dim=1).max()) > 1 / SAFE:
            return False
        fresh = self._basis[self.size : self.size + len(directions)]
        self._combine_into(fresh, (directions, mix.T), (known, -along @ mix.T))
        self.size += len(directions)
        return True

    def _append(self, direction: Tensor, noise: float) -> None:
        """Orthogonalise twice, which is enough for orthogonality to rounding, and normalise."""
        norm = float(lengths(direction[None]))
        least = max(noise, 100 * torch.finfo(direction.dtype).eps * norm)
        if not 0 < norm < float("inf") or self.full:
            return
        known = self._basis[: self.size]
        once = torch.addmv(direction, known.T, known @ direction, alpha=-1)
        left = float(lengths(once[None]))
        if left <= least:
            return
        once = unit(once, left)
        twice = torch.addmv(once, known.T, known @ once, alpha=-1)
        torch.div(twice, float(lengths(twice[None])), out=self._basis[self.size])
        self.size += 1

    def _apply(self, first: int) -> None:
        """Fill the image from row `first` on, and the projection with it."""
        self._operator.map_rows(self._basis[first : self.size], self._image[first : self.size])
        strip = inner(self._basis[: self.size], self._image[first : self.size])
        projection = torch.zeros(self.size, self.size, dtype=torch.float64)
        projection[:first, :first] = self._projection
        projection[:, first:], projection[first:, :] = strip, strip.T
        projection[first:, first:] = strip[first:] / 2 + strip[first:].T / 2
        if not torch.isfinite(projection).all():
            raise NonFiniteProductError
        self._projection = projection

    def _make_room(self, count: int) -> None:
        """Room for so many more, and for the rounds to come: to copy it all costs, rows not yet used cost little."""
        if self.size + count <= len(self._basis):
            return
        spare = max(SPARE, 3 * count) if self.size == 0 else self.size
        room = self.size + count + spare
        basis = self._basis.new_empty(room, self._operator.size)
        image = torch.empty_like(basis)
        basis[: self.size], image[: self.size] = self._basis[: self.size], self._image[: self.size]
        self._basis, self._image = basis, image

    def _combined(self, *terms: tuple[Tensor, Tensor]) -> Tensor:
        out = self._basis.new_empty(terms[0][1].shape[1], self._operator.size)
        self._combine_into(out, *terms)
        return out

    def _combine_into(self, out: Tensor, *terms: tuple[Tensor, Tensor]) -> None:
        """Set the rows of `out` to the sum over (rows, coordinates) of what each column makes of the rows."""
        weights = [(rows, coordinates.T.to(out)) for rows, coordinates in terms]
        width = max(1, CACHED // max(1, sum(len(rows) for rows, _ in terms)))
        for start in range(0, self._operator.size, width):
            stretch = slice(start, start + width)
            for place, (rows, weight) in enumerate(weights):
                out[:, stretch].addmm_(weight, rows[:, stretch], beta=int(place > 0))


def inner(left: Float[Tensor, "a p"], right: Float[Tensor, "b p"]) -> Float64[Tensor, "a b"]:
    """Return the inner products of rows on the CPU: short slices in their own precision, the slices in float64.

    Over 10⁶ entries a plain float32 product may lose two digits; this loses none, and costs a third of widening all.
    """
    whole = left.shape[1] // SLICE * SLICE
    lefts = left[:, :whole].reshape(len(left), whole // SLICE, SLICE).transpose(0, 1)
    rights = right[:, :whole].reshape(len(right), whole // SLICE, SLICE).permute(1, 2, 0)
    total = torch.bmm(lefts, rights).sum(0, dtype=torch.float64)
    return (total + left[:, whole:] @ right[:, whole:].T).cpu()


def lengths(rows: Float[Tensor, "b p"]) -> Float64[Tensor, "b"]:
    """Return the norm of each row, on the CPU, summed as `inner` sums.

    In float32 alone the norm of 10⁶ entries may be off by 1e-4, and a Rayleigh quotient with it.
    """
    whole = rows.shape[1] // SLICE * SLICE
    slices = rows[:, :whole].reshape(len(rows), whole // SLICE, SLICE)
    parts = torch.cat([torch.linalg.vector_norm(slices, dim=2), rows[:, whole:]], dim=1)
    found: Tensor = torch.linalg.vector_norm(parts, dim=1, dtype=torch.float64).cpu()
    limits = torch.finfo(rows.dtype)
    least, most = (limits.tiny / limits.eps) ** 0.5, limits.max**0.5
    if bool(((found < least * rows.shape[1] ** 0.5) | ~(found < most)).any()):
        return norms(rows).cpu()  # their squares leave the range of numbers
    return found
