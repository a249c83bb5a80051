"""What a solve leaves of the spectrum below the pairs it found: vectors that follow it, and how high it may come."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from studyrun.curvature.search import Search
from studyrun.curvature.subspace import lengths
from studyrun.curvature.warm import WarmStart


def watched(search: Search, start: WarmStart | None) -> Tensor | None:
    """The guards as they were seen, as columns; ahead of those not looked at, pairs that are wanted no more.

    None: the start held no more than is wanted, and its guards were not looked at.
    """
    if search.looked or start is None:
        return _guards(search)
    if not search.released:
        return None
    guards = _guards(search)
    return torch.cat([guards, start["guards"].to(guards)[:, : search.guard]], dim=1)


def ceiling(search: Search) -> float:
    """How high the eigenvalues below those wanted may come: what follows in the space, and what was not looked at.

    An eigenvalue lies within the residual of a Ritz value.
    """
    below = search.below
    if len(below.values) == 0 and search.looked:
        return -inf if search.space.full else inf
    seen = below.values + below.residuals
    highest: float = max(*seen.tolist(), -inf if search.looked else search.ceiling, -inf)
    return highest


def _guards(search: Search) -> Tensor:
    """The Ritz vectors below those wanted, a step of the power iteration further, as columns.

    With y a Ritz vector, r = H y − θ y known and σ a shift, (H + σ) y = (θ + σ) y + r costs no product. With σ the
    largest |Ritz value|, eigenvalues that are large and negative do not grow. So a guard learns of directions outside
    the space from solve to solve.
    """
    below, few = search.below, slice(0, search.guard)
    gaps = below.gaps[few]
    shifted = (below.values[few] + search.ritz.scale).clamp_min(torch.finfo(gaps.dtype).tiny)
    rows = search.space.combine(below.coordinates[:, few]) + gaps / shifted[:, None].to(gaps)
    rows /= lengths(rows)[:, None].to(rows)
    return rows.T
