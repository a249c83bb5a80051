"""What one solve leaves for the next: vectors to start from, and how far the rest of the spectrum may have come."""

from __future__ import annotations

from math import inf
from typing import NotRequired, TypedDict

import torch
from torch import Tensor

from studyrun.curvature.explored import Explored
from studyrun.curvature.subspace import inner


class WarmStart(TypedDict):
    """A start for the eigenpairs of a nearby operator. Plain tensors and numbers, so that a checkpoint can hold it.

    `vectors` (p, k) are the last eigenvectors, with `values` (k,), and `previous` those of the solve before. At the
    edge of stability an iterate swings from one side of a valley to the other, so that the Hessian of every second step
    is alike: `alternates` says that the last solve came closer to the one before the last. `guards` (p, g) follow what
    lies just below; `ceiling` is how high λ_{k+1} may have come since they were looked at, `unwatched` solves ago.
    `explored` is the evidence of the last exploration, while it is worth anything; older checkpoints have none.
    """

    vectors: Tensor
    values: Tensor
    previous: Tensor
    previous_values: Tensor
    guards: Tensor
    ceiling: float
    unwatched: int
    alternates: bool
    explored: NotRequired[Explored]


def warm_start(start: WarmStart | Tensor | None, k: int, guard: int) -> WarmStart | None:
    """Return `start` as it is meant: bare columns are eigenvectors, and guards behind them, nothing known of either."""
    if not isinstance(start, Tensor):
        return start
    pairs = max(k, start.shape[1] - guard)
    none = start[:, :0]
    return WarmStart(
        vectors=start[:, :pairs],
        values=torch.zeros(0, dtype=torch.float64),
        previous=none,
        previous_values=torch.zeros(0, dtype=torch.float64),
        guards=start[:, pairs : pairs + guard],
        ceiling=inf,
        unwatched=0,
        alternates=False,
    )


def successor(
    last: WarmStart | None,
    vectors: Tensor,
    values: Tensor,
    guards: Tensor | None,
    ceiling: float,
    explored: Explored | None = None,
) -> WarmStart:
    """Return the start that follows `last` once these pairs have been found; no `guards`: they were not looked at."""
    before = last if last is not None and last["vectors"].shape[1] > 0 and len(last["values"]) > 0 else None
    newer, older = (before["vectors"], before["previous"]) if before else (vectors[:, :0], vectors[:, :0])
    unwatched = 0
    if guards is None:
        assert last is not None, "a cold solve looks at all there is"
        guards, unwatched = last["guards"], last["unwatched"] + 1
    start = WarmStart(
        vectors=vectors,
        values=values,
        previous=newer,
        previous_values=before["values"] if before else values[:0],
        guards=guards,
        ceiling=ceiling,
        unwatched=unwatched,
        alternates=_likeness(vectors, older) > _likeness(vectors, newer),
    )
    if explored:
        start["explored"] = explored
    return start


def _likeness(first: Tensor, second: Tensor) -> float:
    """Σ (v_i · w_j)² over as many vectors as both have."""
    count = min(first.shape[1], second.shape[1])
    return float(inner(first.T[:count], second.T[:count].to(first)).square().sum()) if count else 0.0
