"""The algebraically largest eigenpairs of a symmetric operator, by Rayleigh–Ritz on a growing block Krylov space."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from studyrun.curvature.bounds import ritz_bounds
from studyrun.curvature.exploration import Exploration
from studyrun.curvature.explored import accounts_for, after
from studyrun.curvature.guards import ceiling, watched
from studyrun.curvature.operators import SymmetricOperator
from studyrun.curvature.sounding import margin
from studyrun.curvature.subspace import NonFiniteProductError, inner, lengths
from studyrun.curvature.warm import WarmStart, successor, warm_start

MOST_BUDGETED = 1000  # pairs that the default limit on products allows for
NEAR = 0.1  # the least overlap with a start vector that says which way to point


@dataclass(frozen=True, slots=True)
class Eigenpairs:
    """The k algebraically largest eigenpairs (λ_i, v_i) of an operator, with the evidence for them.

    `values` are descending; `vectors` are the columns v_i, of norm 1; `residuals` are ‖H v_i − λ_i v_i‖, and
    `converged` says where residual ≤ tolerance · |λ_i|. Some eigenvalue of H lies within one residual of λ_i, always.

    `doubt` bounds the chance, over the random vectors drawn, that an eigenvalue larger than λ_k was missed: larger by
    5 % of it, by 1e-3 of the largest |λ| seen, or by 2.5 residuals, whichever is most; and where `gaps` are known, by
    anything. It is that of this solve's exploration, or of an earlier one and the distance the operator has moved since
    (`Explored`); 1 says that nothing is known. Of all solves no more than a share δ is wrong with a doubt ≤ δ.

    `gaps` are bounds, from below, on the distance from λ_i to every other eigenvalue, 0 where a neighbour is not told
    apart, NaN where no exploration has found out what lies below. With a gap, `errors` bound |λ_i − λ| to the i-th
    largest eigenvalue λ, unless one was missed; without, they are the residuals, and λ is the nearest eigenvalue, as it
    is where the doubt is 1 and the gap within the residual. `angles` bound the sine of the angle to the eigenvector.

    `products` were spent. `warm` is what is worth starting from next time. Where the operator gave NaN, so is all of
    this.
    """

    values: Float64[Tensor, "k"]
    vectors: Float[Tensor, "p k"]
    residuals: Float64[Tensor, "k"]
    errors: Float64[Tensor, "k"]
    gaps: Float64[Tensor, "k"]
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

    @property
    def angles(self) -> Float64[Tensor, "k"]:
        """Bounds on sin ∠(v_i, eigenvector): residual over gap, 1 where there is none (Davis and Kahan 1970)."""
        return torch.where(self.gaps > self.residuals, self.residuals / self.gaps, 1.0)

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
            gaps=self.gaps[:k],
            converged=self.converged[:k],
        )

    def vector_evidence(self) -> dict[str, Any]:
        """Return what travels with what is measured along v_1, by the names it has in a trace."""
        return {"residual": self.residuals[0], "angle": self.angles[0], "converged": self.converged[0]}

    def evidence(self) -> dict[str, Any]:
        """Return what travels with the eigenvalues, by the names it has in a trace."""
        return {
            "residual": self.residuals,
            "error": self.errors,
            "separation": self.gaps,
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
    could have lifted them that far, and in every fourth solve at least. A start can be blind, and so can a space that
    has grown from few vectors. Once the residuals are small, a fresh random vector is followed too, until an eigenvalue
    above λ_k is improbable (`accepted_doubt`, see `Sounding`). That costs about half a cold start, so a caller that
    solves again and again along a trajectory may ask for it in a share of its warm solves only: `exploration` is the
    probability, drawn from `generator`. In the others one product tells what the last exploration is still worth.

    Cost: products, mostly: k to look at the start, then one for each open pair and round. A solve ends
    unconverged after `max_products` (100 + 50 k by default), and once residuals stall at the rounding of float32 or
    float64. Each vector points as the start's nearest does, or has its largest entry positive. Raises ValueError for
    arguments that cannot be meant.
    """
    _check(operator, k, tolerance, start, guard)
    before, known = operator.products, warm_start(start, k, guard)
    largest = k if above is None else min(max(k, most or operator.size), operator.size)
    last = before + (max_products or 100 + 50 * min(largest, MOST_BUDGETED))
    room = basis or 24 + 3 * k
    search = Exploration(operator, k, guard, tolerance, generator, last, room, accepted_doubt=accepted_doubt)
    explore = exploration >= 1 or float(torch.rand((), generator=generator)) < exploration
    try:
        search.seed(known, explore, largest)
        _solve(search, explore, inf if above is None else above, largest)
    except NonFiniteProductError:
        return _nothing(operator, k, operator.products - before)
    return _found(search, known, operator.products - before)


def _solve(search: Exploration, explore: bool, above: float, largest: int) -> None:
    """Converge, widen and sound until each is content with what the others did."""
    search.run()
    again = True
    while again:
        while search.wanted < largest and search.exceeds(above):
            search.widen()
            search.run()
        again = explore and (search.explore() or (search.wanted < largest and search.exceeds(above)))


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


def _found(search: Exploration, start: WarmStart | None, products: int) -> Eigenpairs:
    k = search.wanted
    vectors = _directed(search.space.combine(search.ritz.rotation[:, :k]), start).T
    values, highest, guards = search.ritz.values[:k], ceiling(search), watched(search, start)
    doubt, errors, gaps = _certainty(search)
    evidence = after(search.evidence, doubt) if search.evidence else None
    return Eigenpairs(
        values=values,
        vectors=vectors,
        residuals=search.residuals,
        errors=errors,
        gaps=gaps,
        converged=search.converged,
        products=products,
        warm=successor(start, vectors, values, guards, search.ceiling if guards is None else highest, evidence),
        doubt=doubt,
    )


def _certainty(search: Exploration) -> tuple[float, Tensor, Tensor]:
    """The doubt, the errors and the gaps."""
    k, doubt = search.wanted, search.doubt if search.doubt < 1 else 1.0
    found = _bounded(search)
    if found is None:
        return (1.0 if search.evidence else doubt), *ritz_bounds(search.ritz.values[:k], search.residuals, None)
    held, level = found
    known = torch.cat([search.residuals, search.below.residuals])[: max(held, k)]
    errors, gaps = ritz_bounds(search.ritz.values[:held], known[:held], level)
    if held < k:  # the others lie below the level, and what lies among them is not known
        errors = torch.cat([errors, search.residuals[held:]])
        gaps = torch.cat([gaps, torch.full((k - held,), torch.nan, dtype=torch.float64)])
        beyond = level > float(search.ritz.values[k - 1]) + margin(search.ritz, k, search.residual(k))
        doubt = 1.0 if beyond else doubt
    return (0.0 if search.space.full else doubt), errors[:k], gaps[:k]


def _bounded(search: Exploration) -> tuple[int, float] | None:
    """How many of the pairs are known to be all that lies above which level; None: of no number and no level is it."""
    k, values, evidence = search.wanted, search.ritz.values, search.evidence
    if search.space.full:
        return k, float(values[k]) if k < len(values) else -inf
    if evidence is None or search.doubt >= 1:
        return None
    held, level = evidence["held"], evidence["level"]
    return (held, level) if accounts_for(level, held, values, search.residual(held)) else None


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
    return Eigenpairs(nan, vectors, nan, nan, nan, none, products=products, warm=start, doubt=1.0)
