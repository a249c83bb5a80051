"""The algebraically largest eigenpairs of a symmetric operator, by Rayleigh–Ritz on a growing block Krylov space."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import pi, sqrt

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from studyrun.curvature.operators import SymmetricOperator
from studyrun.curvature.subspace import NonFiniteProductError, Subspace, inner

PATIENCE = 6  # expansions without progress at the rounding floor, after which to give up
SLACK = 0.05  # a hidden eigenvalue counts if it exceeds the smallest one returned by this share


@dataclass(frozen=True, slots=True)
class Eigenpairs:
    """The k algebraically largest eigenpairs (λ_i, v_i) of an operator, with the evidence for them.

    `values` are descending; `vectors` are the columns v_i, of norm 1; `residuals` are ‖H v_i − λ_i v_i‖, and
    `converged` says where residual ≤ tolerance · |λ_i|. Some eigenvalue lies within one residual of λ_i, and within
    residual² / gap of it, where gap is the distance to the rest of the spectrum (Kato, Temple). `doubt` bounds the
    probability, over the random start, that an eigenvalue above λ_k (by 5 % or more) was missed altogether.
    `products` were spent. `block` is the warm start for a nearby operator: the v_i and the guards below them.
    """

    values: Float64[Tensor, "k"]
    vectors: Float[Tensor, "p k"]
    residuals: Float64[Tensor, "k"]
    converged: Bool[Tensor, "k"]
    products: int
    block: Float[Tensor, "p m"]
    doubt: float = 0.0

    def first(self, k: int) -> Eigenpairs:
        """Return the k largest of these, with the same evidence and the same warm start."""
        if not 1 <= k <= len(self.values):
            raise ValueError(f"there are {len(self.values)} eigenpairs here, not {k}")
        return replace(
            self,
            values=self.values[:k],
            vectors=self.vectors[:, :k],
            residuals=self.residuals[:k],
            converged=self.converged[:k],
        )

    def first(self, k: int) -> Eigenpairs:
        """The first k of these pairs."""
        parts = (self.values[:k], self.vectors[:, :k], self.residuals[:k], self.converged[:k])
        return Eigenpairs(*parts, self.products, self.block, self.doubt)


def top_eigenpairs(
    operator: SymmetricOperator,
    k: int,
    *,
    tolerance: float,
    start: Float[Tensor, "p m"] | None = None,
    generator: torch.Generator,
    guard: int = 1,
    doubt: float = 0.01,
    max_products: int | None = None,
    basis: int | None = None,
) -> Eigenpairs:
    """Return the k algebraically largest eigenpairs of `operator`, each to residual ≤ tolerance · |λ|."""
    _check(operator, k, tolerance, start, guard)
    search = _Search(operator, k, tolerance, start, generator, guard, doubt, max_products or 100 + 50 * k, basis)
    try:
        search.run()
    except NonFiniteProductError:
        return search.nothing()
    return search.result()


def _check(operator: SymmetricOperator, k: int, tolerance: float, start: Tensor | None, guard: int) -> None:
    if not 1 <= k <= operator.size:
        raise ValueError(f"k must lie between 1 and the operator's size {operator.size}, not {k}")
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance must lie between 0 and 1, not {tolerance}")
    if guard < 0:
        raise ValueError(f"guard must not be negative, not {guard}")
    if start is not None and (start.ndim != 2 or len(start) != operator.size):
        raise ValueError(f"start must have shape ({operator.size}, m), not {tuple(start.shape)}")


class _Search:
    """One solve: the space, its Ritz pairs, and the random vector z by which hidden eigenvalues are looked for."""

    def __init__(self, operator, k, tolerance, start, generator, guard, doubt, max_products, basis):
        self.operator, self.k, self.tolerance, self.start = operator, k, tolerance, start
        self.generator, self.guard, self.accepted_doubt = generator, guard, doubt
        self.space = Subspace(operator)
        self.limit = operator.products + max_products
        self.spent_before = operator.products
        self.capacity = basis or k + guard + 24
        self.doubt = 1.0
        self.explorer = None
        self.stalled = 0
        self.best = float("inf")

    # -- the loop
    def run(self):
        self.seed()
        while True:
            self.update()
            if self.space.size >= self.operator.size or self.exhausted():
                break
            open_pairs = (~self.converged()).nonzero().flatten()
            if len(open_pairs):
                if self.at_floor():
                    break
                directions = self.residual_vectors[open_pairs]
            else:
                self.doubt, direction = self.suspicion()
                if self.doubt <= self.accepted_doubt:
                    break
                directions = direction[None]
            self.make_room(len(directions))
            if not self.space.expand(directions):
                if not self.explore():
                    break

    def random(self):
        z = torch.randn(
            self.operator.size,
            generator=self.generator,
            dtype=torch.float32 if self.operator.dtype != torch.float64 else torch.float64,
        )
        z = z.to(self.operator.device, self.operator.dtype)
        return z / z.norm()

    def seed(self):
        if self.start is not None and self.start.shape[1]:
            self.space.expand(self.start.T[: self.k + self.guard].to(self.operator.dtype))
        missing = max(self.k - self.space.size, 0)
        if missing:
            self.space.expand(torch.stack([self.random() for _ in range(missing)]))
            self.explorer = torch.zeros(self.space.size, dtype=torch.float64)
            self.explorer[-1] = 1
            self.scale = 1.0
        else:
            self.explore()

    def explore(self):
        """Add a fresh random vector z; its coordinates are kept."""
        z = self.random()
        rows = self.space._basis[: self.space.size]
        z = z - (rows @ z) @ rows
        z = z / z.norm()
        if self.space.size >= self.operator.size or not self.space.expand(z[None]):
            return False
        self.explorer = torch.zeros(self.space.size, dtype=torch.float64)
        self.explorer[-1] = 1
        return True

    def update(self):
        self.values, self.rotation = self.space.ritz()
        k = min(self.k, self.space.size)
        top = self.rotation[:, :k]
        self.residual_vectors = self.space.residual(top, top * self.values[:k])
        self.residuals = self.residual_vectors.double().norm(dim=1).cpu()

    def converged(self):
        k = len(self.residuals)
        return self.residuals <= self.tolerance * self.values[:k].abs()

    def exhausted(self):
        return self.operator.products >= self.limit

    def at_floor(self):
        worst = (self.residuals / self.values[: len(self.residuals)].abs().clamp_min(1e-300)).max().item()
        floor = 100 * torch.finfo(self.operator.dtype).eps * self.values.abs().max().item()
        if worst < 0.5 * self.best:
            self.best, self.stalled = worst, 0
        else:
            self.stalled += 1
        return self.stalled > PATIENCE and self.residuals.max().item() <= floor

    def suspicion(self):
        c = torch.zeros(self.space.size, dtype=torch.float64)
        c[: len(self.explorer)] = self.explorer
        k = self.k
        s = self.rotation.T @ c
        s[:k] = 0
        scale = self.values.abs().max()
        mu = self.values[k - 1] + max(SLACK * self.values[k - 1].abs(), 1e-6 * scale)
        d = s / (mu - self.values)
        if scale == 0:
            return 0.0, self.random()
        u = self.space.residual((self.rotation @ d)[:, None], (self.rotation @ (self.values * d))[:, None])[0]
        p = self.operator.size
        return min(1.0, u.double().norm().item() * sqrt(2 * p / pi)), u

    def make_room(self, wanted):
        if self.space.size + wanted <= self.capacity:
            return
        keep = self.rotation[:, : self.k + self.guard + 4]
        c = torch.zeros(self.space.size, dtype=torch.float64)
        c[: len(self.explorer)] = self.explorer
        full = torch.cat([keep, c[:, None]], 1)
        q, _ = torch.linalg.qr(full)
        self.space.restart(q)
        self.explorer = q.T @ c

    def result(self):
        k = self.k
        m = min(self.space.size, k + self.guard)
        block = self.space.combine(self.rotation[:, :m])
        block = block / block.norm(dim=1, keepdim=True)
        return Eigenpairs(
            self.values[:k].clone(),
            block[:k].T,
            self.residuals,
            self.converged(),
            self.operator.products - self.spent_before,
            block.T,
            self.doubt,
        )

    def nothing(self):
        p, k = self.operator.size, self.k
        nan = torch.full((k,), float("nan"), dtype=torch.float64)
        vectors = torch.full((p, k), float("nan"), dtype=self.operator.dtype, device=self.operator.device)
        return Eigenpairs(
            nan,
            vectors,
            nan.clone(),
            torch.zeros(k, dtype=torch.bool),
            self.operator.products - self.spent_before,
            vectors[:, :0],
            1.0,
        )
