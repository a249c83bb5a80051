"""Random vectors for estimates of traces and spectra."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from studyrun.curvature.operators import SymmetricOperator
from studyrun.curvature.subspace import lengths

PATTERN = 1 << 16  # entries of a random vector that is drawn once and repeated


def gaussian_vectors(operator: SymmetricOperator, count: int, generator: torch.Generator) -> Float[Tensor, "b p"]:
    """Return `count` rows of independent standard normal entries, in the operator's precision and on its device.

    They are drawn in float32 from a generator on the CPU: one seed names the same vectors on every device and in every
    precision, and a vector costs a fifth of what it would in float64, less than a tenth of a gradient.
    """
    rows = torch.empty(count, operator.size, dtype=operator.dtype, device=operator.device)
    for row in rows:
        row.copy_(torch.randn(operator.size, generator=generator, dtype=torch.float32))
    return rows


def unit_vector(operator: SymmetricOperator, generator: torch.Generator) -> Float[Tensor, "p"]:
    """Return a vector drawn evenly from the unit sphere."""
    (row,) = gaussian_vectors(operator, 1, generator)
    unit: Tensor = row / torch.linalg.vector_norm(row, dtype=torch.float64).to(row)
    return unit


def random_directions(operator: SymmetricOperator, count: int, generator: torch.Generator) -> Float[Tensor, "b p"]:
    """Return unit vectors drawn evenly, as rows, in the operator's own precision."""
    shape = (count, operator.size)
    drawn = torch.randn(shape, generator=generator, dtype=operator.dtype, device=generator.device)
    drawn /= lengths(drawn)[:, None].to(drawn)
    return drawn.to(operator.device)


def patterns(operator: SymmetricOperator, count: int, generator: torch.Generator) -> Float[Tensor, "b p"]:
    """Return vectors of a random pattern repeated under random signs, as rows: a tenth of the price of random ones.

    Their norm is 1, give or take.
    """
    dtype, home = operator.dtype, generator.device
    repeats = -(-operator.size // PATTERN)
    drawn = torch.randn((count, 1, PATTERN), generator=generator, dtype=dtype, device=home)
    signs = torch.randn((count, repeats, 1), generator=generator, dtype=dtype, device=home).sign()
    whole = (signs.to(operator.device) * drawn.to(operator.device)).view(count, repeats * PATTERN)
    rows: Tensor = whole[:, : operator.size] / operator.size**0.5
    return rows
