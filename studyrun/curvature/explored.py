"""What an exploration found out stays worth something while the operator moves: how much, one product tells."""

from __future__ import annotations

from typing import TypedDict

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from studyrun.curvature.operators import SymmetricOperator
from studyrun.curvature.sounding import Rest, Sounding, certainty
from studyrun.curvature.subspace import NonFiniteProductError, lengths

LOST = 0.5  # a doubt that is as good as none
PATIENT = 3  # times in a row that the evidence may prove lost before it is given up; every second step may be alike


class Explored(TypedDict):
    """Evidence that no more than `held` eigenvalues of an operator H exceed `level`, and by what to carry it on.

    With z the random vector of the exploration and N, ν, w, x as in `Sounding`, H' the operator of a later moment and
    N', ν', w' likewise: w'·z = w'·(u(ν') + (N' − N) x(ν')). What H' is does not depend on z, so that

        doubt' = √(2p/π) (‖u(level)‖ + ‖(H' − H) x(level)‖)

    bounds the chance that more than `held` eigenvalues of H' exceed the level, x(ν') being no longer than x(level).
    `solution` is x, of norm 1, `image` H x, `scale` √(2p/π) times the norm that x had, `doubt` that at the exploration;
    `lost` solves in a row found it worthless.
    """

    solution: Tensor
    image: Tensor
    scale: float
    level: float
    doubt: float
    held: int
    lost: int


def explored(sounding: Sounding, rest: Rest, level: float, doubt: float) -> Explored:
    """Return the evidence of a sounding. No product is spent."""
    solution, size = rest.solution(level), rest.size(level)
    norm = float(solution.norm())
    unit = (solution / norm)[:, None]
    row, image = rest.space.combine(unit)[0], rest.space.residual(unit, torch.zeros_like(unit))[0]
    return Explored(
        solution=row,
        image=image,
        scale=certainty(len(row)) * norm / size,
        level=level,
        doubt=doubt,
        held=sounding.held,
        lost=0,
    )


def doubt_now(evidence: Explored, operator: SymmetricOperator) -> tuple[float, Float[Tensor, "1 p"]]:
    """Return the doubt that is left for this operator, for one product, and (H' − H) x, which leans to what rose.

    Raises NonFiniteProductError.
    """
    home = (operator.device, operator.dtype)
    moved = (operator.matvec(evidence["solution"].to(*home)) - evidence["image"].to(*home))[None]
    doubt = evidence["doubt"] + evidence["scale"] * float(lengths(moved))
    if not doubt < torch.inf:
        raise NonFiniteProductError
    return doubt, moved


def after(evidence: Explored, doubt: float) -> Explored | None:
    """Return the evidence for the next solve, None once it has been worthless a few times in a row."""
    lost = evidence["lost"] + 1 if doubt >= LOST else 0
    return None if lost >= PATIENT else Explored({**evidence, "lost": lost})


def accounts_for(level: float, held: int, values: Float64[Tensor, "m"], residual: float) -> bool:
    """Whether the first `held` of these Ritz values, whose residuals have this norm in all, are what exceeds the level.

    As many eigenvalues lie within that norm of them (Kahan 1967), one each. One Ritz value more above the level would
    prove that the evidence is wrong.
    """
    if len(values) < held or float(values[held - 1]) - residual <= level:
        return False
    return len(values) == held or float(values[held]) <= level
