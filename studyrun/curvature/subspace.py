"""An orthonormal basis that grows, with its image under an operator: the workbench of Rayleigh–Ritz."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from studyrun.curvature.operators import SymmetricOperator

SLICE = 1 << 18  # entries that are widened to float64 at a time


class NonFiniteProductError(ArithmeticError):
    """The operator returned NaN or infinity, so there is no spectrum to find."""


class Subspace:
    """An orthonormal basis V (p, m), its image H V (p, m), and the projection T = Vᵀ H V (m, m) in float64 on the CPU.

    Vectors are rows in memory, so that one is contiguous and a product with all of them is a single sweep. They are
    held in the operator's precision; inner products are summed in float64, so that T is as good as V and H V are.
    """

    def __init__(self, operator: SymmetricOperator) -> None:
        self.operator = operator
        self.projection: Float64[Tensor, "m m"] = torch.zeros(0, 0, dtype=torch.float64)
        self._basis = torch.empty(0, operator.size, dtype=operator.dtype, device=operator.device)
        self._image = torch.empty_like(self._basis)
        self._size = 0

    @property
    def size(self) -> int:
        """The number of basis vectors m."""
        return self._size

    def expand(self, directions: Float[Tensor, "b p"]) -> int:
        """Add what is new in `directions` (rows), one product each, and return how many were new."""
        first = self._size
        for direction in directions:
            self._append(direction)
        added = self._size - first
        if added:
            self._apply(first)
        return added

    def ritz(self) -> tuple[Float64[Tensor, "m"], Float64[Tensor, "m m"]]:
        """Return the Ritz values, descending, and their vectors' coordinates in the basis, as columns."""
        values, rotation = torch.linalg.eigh(self.projection)
        return values.flip(0), rotation.flip(1)

    def combine(self, coordinates: Float64[Tensor, "m c"]) -> Float[Tensor, "c p"]:
        """Return the vectors V a, as rows, for each column a of `coordinates`."""
        return self._cast(coordinates) @ self._basis[: self._size]

    def residual(self, image: Float64[Tensor, "m c"], basis: Float64[Tensor, "m c"]) -> Float[Tensor, "c p"]:
        """Return H V a − V b, as rows, for each pair of columns a of `image` and b of `basis`."""
        return self._cast(image) @ self._image[: self._size] - self.combine(basis)

    def restart(self, coordinates: Float64[Tensor, "m c"]) -> None:
        """Replace the basis by its combinations `coordinates`, orthonormal columns. No product is spent."""
        basis, image = self.combine(coordinates), self._cast(coordinates) @ self._image[: self._size]
        self._size = coordinates.shape[1]
        self._basis[: self._size], self._image[: self._size] = basis, image
        self.projection = coordinates.T @ self.projection @ coordinates

    def _append(self, direction: Tensor) -> None:
        """Orthogonalise twice, which is enough, and drop a direction of which rounding is all that is left."""
        norm = direction.norm()
        if not (torch.isfinite(norm) and norm > 0) or self._size >= self.operator.size:
            return
        vector = direction / norm
        for _ in range(2):
            known = self._basis[: self._size]
            vector = vector - (known @ vector) @ known
            norm = vector.norm()
            if norm < 100 * torch.finfo(vector.dtype).eps:
                return
            vector = vector / norm
        self._grow()
        self._basis[self._size] = vector
        self._size += 1

    def _apply(self, first: int) -> None:
        """Fill the image from row `first` on, and the projection with it."""
        new = self._basis[first : self._size]
        self._image[first : self._size] = self.operator.matmat(new.T).T
        strip = inner(self._basis[: self._size], self._image[first : self._size])
        if not torch.isfinite(strip).all():
            raise NonFiniteProductError
        projection = torch.zeros(self._size, self._size, dtype=torch.float64)
        projection[:first, :first] = self.projection
        projection[:, first:] = strip
        projection[first:, :] = strip.T
        corner = strip[first:]
        projection[first:, first:] = (corner + corner.T) / 2
        self.projection = projection

    def _grow(self) -> None:
        if self._size == len(self._basis):
            room = torch.empty(
                max(4, self._size), self.operator.size, dtype=self._basis.dtype, device=self._basis.device
            )
            self._basis = torch.cat([self._basis, room])
            self._image = torch.cat([self._image, room])

    def _cast(self, coordinates: Tensor) -> Tensor:
        return coordinates.T.to(self._basis.device, self._basis.dtype)


def inner(left: Float[Tensor, "a p"], right: Float[Tensor, "b p"]) -> Float64[Tensor, "a b"]:
    """Return the inner products of rows, summed in float64, on the CPU."""
    if left.dtype == torch.float64:
        return (left @ right.T).cpu()
    slices = range(0, left.shape[1], SLICE)
    return sum(
        (left[:, i : i + SLICE].double() @ right[:, i : i + SLICE].double().T for i in slices),
        start=torch.zeros(len(left), len(right), dtype=torch.float64, device=left.device),
    ).cpu()
