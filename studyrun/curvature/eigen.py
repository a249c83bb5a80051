"""The algebraically largest eigenpairs of a symmetric operator, by Rayleigh–Ritz on a growing block Krylov space."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from studyrun.curvature.bounds import ritz_errors
from studyrun.curvature.guards import ceiling, watched
from studyrun.curvature.operators import SymmetricOperator
from studyrun.curvature.search import Search
from studyrun.curvature.subspace import NonFiniteProductError, inner, lengths
from studyrun.curvature.warm import WarmStart, successor, warm_start

MOST_BUDGETED = 1000  # pairs that the default limit on products allows for
NEAR = 0.1  # the least overlap with a start vector that says which way to point


@dataclass(frozen=True, slots=True)
class Eigenpairs:
    """The k algebraically largest eigenpairs (λ_i, v_i) of an operator, with the evidence for them.

    `values` are descending; `vectors` are the columns v_i, of norm 1; `residuals` are ‖H v_i − λ_i v_i‖, and
    `converged` says where residual ≤ tolerance · |λ_i|. Some eigenvalue of H lies within one residual of λ_i, and
    within residual² / gap of it, gap being the distance to the rest of the spectrum. `doubt` bounds the probability,
    over the random vectors drawn, that some eigenvalue above λ_k was missed altogether; it is 1 where a warm start was
    taken on trust. `products` were spent. `warm` is what is worth starting from next time. `errors` bound |λ_i − λ| to
    the nearest eigenvalue λ, but for rounding: the residual, or residual² / gap (Kato and Temple) where what was seen
    of the rest of the spectrum leaves a gap, which is overstated if an eigenvalue was missed (`ritz_errors`). Where the
    operator gave NaN, so is all of this.
    """

    values: Float64[Tensor, "k"]
    vectors: Float[Tensor, "p k"]
    residuals: Float64[Tensor, "k"]
    errors: Float64[Tensor, "k"]
    converged: Bool[Tensor, "k"]
    products: int
    warm: WarmStart
    doubt: float

    @property
    def known_values(self) -> Float64[Tensor, "k"]:
        """The eigenvalues that converged; NaN for the others."""
        return self.values.where(self.converged, torch.nan)

    @property
    def known_vectors(self) -> Float[Tensor, "p k"]:
        """The eigenvectors that converged; NaN for the others, and for eigenvalue 0, where one is as good as another.

        An eigenvalue that is 0 to the last bit is that of parameters on which the loss does not depend.
        """
        known = self.converged & (self.values != 0)
        return self.vectors.where(known.to(self.vectors.device), torch.nan)

    def first(self, k: int) -> Eigenpairs:
        """Return the k largest of these, with the same evidence and the same warm start."""
        if not 1 <= k <= len(self.values):
            raise ValueError(f"there are {len(self.values)} eigenpairs here, not {k}")
        return replace(
            self,
            values=self.values[:k],
            vectors=self.vectors[:, :k],
            residuals=self.residuals[:k],
            errors=self.errors[:k],
            converged=self.converged[:k],
        )

    def evidence(self) -> dict[str, Any]:
        """Return what travels with the eigenvalues, by the names it has in a trace."""
        return {
            "residual": self.residuals,
            "error": self.errors,
            "matvecs": self.products,
            "converged": self.converged,
            "unconverged": self.values.where(~self.converged, torch.nan),
            "doubt": self.doubt,
        }


def top_eigenpairs(
    operator: SymmetricOperator,
    k: int,
    *,
    tolerance: float,
    start: WarmStart | Float[Tensor, "p m"] | None = None,
    generator: torch.Generator,
    guard: int = 1,
    exploration: float = 1.0,
    accepted_doubt: float = 0.01,
    above: float | None = None,
    most: int | None = None,
    max_products: int | None = None,
    basis: int | None = None,
) -> Eigenpairs:
    """Return the k algebraically largest eigenpairs of `operator`, each to residual ≤ tolerance · |λ|.

    With `above`, pairs are added to the k until the smallest lies at that level or below, or there are `most` of them:
    so whatever comes near an edge of stability is followed, however many there are.

    Rayleigh–Ritz in a space that grows by the residuals of the pairs still open (block Krylov, with thick restarts at
    `basis` vectors). Without `start` it grows from k random vectors. With `start`, the `warm` of a nearby operator's
    eigenpairs or just columns that are near, it grows from those: k vectors, and `guard` more that follow what lies
    just below, so that crossings are seen; the guards cost their products when the operator's change, as the k show it,
    could have lifted them that far, and in every fourth solve at least. A start can be blind. Once the residuals are
    small, a fresh random vector is followed too, until an eigenvalue above λ_k is improbable (`accepted_doubt`, see
    `Sounding`). That costs about as much as a cold start, so a caller that solves again and again along a trajectory
    may ask for it in a share of its warm solves only: `exploration` is the probability, drawn from `generator`.

    Cost: products, mostly: k to look at the start, then one for each open pair and round. A solve ends
    unconverged after `max_products` (100 + 50 k by default), and once residuals stall at the rounding of float32 or
    float64. Each vector points as the start's nearest does, or has its largest entry positive. Raises ValueError for
    arguments that cannot be meant.
    """
    _check(operator, k, tolerance, start, guard)
    before, known = operator.products, warm_start(start, k, guard)
    largest = k if above is None else min(max(k, most or operator.size), operator.size)
    last = before + (max_products or 100 + 50 * min(largest, MOST_BUDGETED))
    search = Search(operator, k, guard, tolerance, accepted_doubt, generator, last, basis or 24 + 3 * k)
    explore = exploration >= 1 or float(torch.rand((), generator=generator)) < exploration
    try:
        search.seed(known, explore, largest)
        search.run()
        while above is not None and search.wanted < largest and search.exceeds(above):
            search.widen()
            search.run()
    except NonFiniteProductError:
        return _nothing(operator, k, operator.products - before)
    return _found(search, known, operator.products - before)


def _check(operator: SymmetricOperator, k: int, tolerance: float, start: WarmStart | Tensor | None, guard: int) -> None:
    if not 1 <= k <= operator.size:
        raise ValueError(f"k must lie between 1 and the operator's size {operator.size}, not {k}")
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance must lie between 0 and 1, not {tolerance}")
    if guard < 0:
        raise ValueError(f"guard must not be negative, not {guard}")
    columns = start if start is None or isinstance(start, Tensor) else start["vectors"]
    if columns is not None and len(columns) != operator.size:
        raise ValueError(f"a start of shape {tuple(columns.shape)} does not fit an operator of size {operator.size}")


def _found(search: Search, start: WarmStart | None, products: int) -> Eigenpairs:
    vectors = _directed(search.space.combine(search.ritz.rotation[:, : search.wanted]), start).T
    values, highest, guards = search.ritz.values[: search.wanted], ceiling(search), watched(search, start)
    return Eigenpairs(
        values=values,
        vectors=vectors,
        residuals=search.residuals,
        errors=ritz_errors(values, search.residuals, highest),
        converged=search.converged,
        products=products,
        warm=successor(start, vectors, values, guards, search.ceiling if guards is None else highest),
        doubt=search.doubt,
    )


def _directed(rows: Tensor, start: WarmStart | None) -> Tensor:
    """The rows, of norm 1, each as the start's nearest vector points, or else so that its largest entry is positive."""
    near = torch.zeros(len(rows), dtype=torch.float64)
    if start is not None and start["vectors"].shape[1] > 0:
        overlaps = inner(rows, start["vectors"].T.to(rows))
        near = overlaps.gather(1, overlaps.abs().argmax(dim=1, keepdim=True))[:, 0]
    for index in (~(near.abs() > NEAR)).nonzero()[:, 0].tolist():
        near[index] = float(rows[index, rows[index].abs().argmax()])
    return rows * (near.sign() / lengths(rows))[:, None].to(rows)


def _nothing(operator: SymmetricOperator, k: int, products: int) -> Eigenpairs:
    nan = torch.full((k,), torch.nan, dtype=torch.float64)
    vectors = torch.full((operator.size, k), torch.nan, dtype=operator.dtype, device=operator.device)
    none = torch.zeros(k, dtype=torch.bool)
    start = warm_start(vectors[:, :0], k, 0)
    assert start is not None
    return Eigenpairs(nan, vectors, nan, nan, none, products=products, warm=start, doubt=1.0)
