"""The Lanczos process with full reorthogonalisation, and the Gauss quadrature that it amounts to.

Shapes: p parameters, m Lanczos steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot, isfinite

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from studyrun.curvature.operators import SymmetricOperator
from studyrun.curvature.sizes import unit
from studyrun.curvature.subspace import NonFiniteProductError, inner, lengths

ROUNDING = 30  # the noise of a product, in units of machine epsilon times the operator's norm


@dataclass(frozen=True, slots=True)
class Tridiagonal:
    """T = Vᵀ H V (m, m) on the Krylov space of a start vector, by its diagonal and what stands beside it.

    `exhausted` says that the space was seen to be invariant under H, to within the rounding of its products, so that it
    holds all that the start vector sees of the spectrum. An end that rounding hides is passed by, and what is added
    beyond it has no weight.
    """

    diagonal: Float64[Tensor, "m"]
    beside: Float64[Tensor, "n"]
    exhausted: bool

    def gauss_rule(self) -> tuple[Float64[Tensor, "m"], Float64[Tensor, "m"]]:
        """Return nodes θ, ascending, and weights w of the Gauss rule Σ_k w_k f(θ_k) ≈ vᵀ f(H) v.

        θ are the eigenvalues of T, and w the squared first entries of its eigenvectors: at least 0, of sum 1. With m
        nodes the rule is exact for polynomials of degree up to 2m − 1, and for every f if the space is exhausted.

        Source: Golub and Welsch 1969 (Mathematics of Computation 23).
        """
        full = torch.diag(self.diagonal) + torch.diag(self.beside, 1) + torch.diag(self.beside, -1)
        nodes, vectors = torch.linalg.eigh(full)
        return nodes, vectors[0].square()


def tridiagonalise(operator: SymmetricOperator, start: Float[Tensor, "p"], depth: int) -> Tridiagonal:
    """Run `depth` Lanczos steps from the unit vector `start`, fewer where the Krylov space is exhausted before.

    Every new vector is made orthogonal to all before it, without which copies of the outermost eigenvalues would
    appear in float32 after a dozen steps. T is summed and held in float64. Cost: a product a step, and two sweeps over
    the basis, (depth, p) in the operator's precision, which is the memory this takes. Raises NonFiniteProductError.
    """
    basis = torch.empty(min(depth, operator.size), operator.size, dtype=operator.dtype, device=operator.device)
    basis[0] = start
    diagonal: list[float] = []
    beside: list[float] = []
    scale = 0.0
    for step in range(len(basis)):
        image = operator.matvec(basis[step])
        diagonal.append(float(inner(basis[step : step + 1], image[None])))
        if not isfinite(diagonal[-1]):
            raise NonFiniteProductError
        if step + 1 == len(basis):
            break
        expected = [*beside[-1:], diagonal[-1]]
        rest, length = _orthogonal(image, basis[: step + 1], expected)
        scale = max(scale, hypot(length, *expected))  # ‖H v‖, but for rounding
        if length <= ROUNDING * torch.finfo(operator.dtype).eps * scale:
            return _tridiagonal(diagonal, beside, exhausted=True)
        beside.append(length)
        basis[step + 1] = unit(rest, length)
    return _tridiagonal(diagonal, beside, exhausted=len(diagonal) == operator.size)


def _orthogonal(vector: Tensor, known: Tensor, expected: list[float]) -> tuple[Tensor, float]:
    """Return what is left of `vector` beside the rows `known`, with its norm.

    `expected` are its products with the last rows, as the three-term recurrence has them. In exact arithmetic nothing
    else is in the way; what rounding left is smaller than anything kept, so that one sweep over all rows removes it.
    """
    rest = vector.clone()
    for row, part in zip(known[-len(expected) :], expected, strict=True):
        rest.add_(row, alpha=-part)
    rest.addmv_(known.T, known @ rest, alpha=-1)
    return rest, float(lengths(rest[None]))


def _tridiagonal(diagonal: list[float], beside: list[float], *, exhausted: bool) -> Tridiagonal:
    return Tridiagonal(
        torch.tensor(diagonal, dtype=torch.float64), torch.tensor(beside, dtype=torch.float64), exhausted
    )
