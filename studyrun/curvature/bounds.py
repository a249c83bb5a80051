"""How far Ritz values may be off, and how far other eigenvalues are."""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor


def ritz_bounds(
    values: Float64[Tensor, "m"], residuals: Float64[Tensor, "m"], level: float | None
) -> tuple[Float64[Tensor, "m"], Float64[Tensor, "m"]]:
    """Return bounds on |θ_i − λ_i|, and on the distance from θ_i to all other eigenvalues, from below.

    λ_1 ≥ … ≥ λ_m are to be all eigenvalues above `level`, and θ_i Ritz values to residuals of norm ‖r_i‖; R is all of
    these together. If θ_m − ‖R‖ > level, each |θ_i − λ_i| ≤ ‖R‖ (Kahan 1967). So the others are no nearer to θ_i than
    gap_i, the least of θ_i − level and |θ_i − θ_j| − ‖R‖, or 0; and θ_i is off by ‖r_i‖² / gap_i at most (Temple 1928;
    Kato 1949). Pairs that are not told apart share the gap below them all: what is orthogonal to them has no eigenvalue
    above ν = level + ‖R‖² / (θ_m − level), so that λ_i is at most the larger eigenvalue of [[θ_i, ‖R‖], [‖R‖, ν]].

    None as a level: nothing is known below the pairs, and they are taken to be the largest there are. The gap of the
    last is then NaN, and where no gap is left a bound is the residual, which holds of the nearest eigenvalue.

    Source: Parlett 1998 (The Symmetric Eigenvalue Problem), Chapters 10 and 11.
    """
    scale = float(torch.cat([values.abs(), residuals]).max())  # squares of what is very large or small leave the range
    if not 0 < scale < torch.inf:
        return residuals.clone(), torch.zeros_like(values)
    own, values, residuals = residuals, values / scale, residuals / scale
    total, below = residuals.square().sum().sqrt(), values - (-torch.inf if level is None else level / scale)
    apart = (values[:, None] - values).abs() - total
    gaps = torch.minimum(apart.fill_diagonal_(torch.inf).amin(dim=1), below).clamp_min(0)
    alone = torch.where(gaps > 0, residuals.square() / gaps, torch.inf)
    if level is None:
        gaps[-1] = torch.nan
        return torch.where(gaps > residuals, scale * alone, own), scale * gaps
    half = (below - total.square() / below[-1]) / 2
    together = torch.where(half > 0, total.square() / (half + torch.hypot(half, total)), total)
    return scale * torch.minimum(torch.minimum(alone, together), total), scale * gaps
