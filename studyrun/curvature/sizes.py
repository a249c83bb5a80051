"""Norms and directions of vectors of any size: those whose squares no number can hold, denormal ones, zeros."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from torch import Tensor


def magnitudes(rows: Float[Tensor, "b p"]) -> Float64[Tensor, "b"]:
    """Return a power of two near the largest entry of each row, 1 where that is 0 or no finite number.

    To divide by it changes no bit of an entry, and leaves rows whose squares are numbers.
    """
    largest = rows.abs().amax(dim=1).double()
    exponents = torch.frexp(largest).exponent - 1
    powers = torch.ldexp(torch.ones_like(largest), exponents)
    return powers.where((largest > 0) & largest.isfinite(), 1)


def norms(rows: Float[Tensor, "b p"]) -> Float64[Tensor, "b"]:
    """Return the norm of each row, summed in float64."""
    scale = magnitudes(rows)
    found: Tensor = scale * torch.linalg.vector_norm(rows.double() / scale[:, None], dim=1)
    return found


def unit(row: Float[Tensor, "p"], length: float) -> Float[Tensor, "p"]:
    """Return a row over its length, which may be so small that its inverse is infinite."""
    if length >= torch.finfo(row.dtype).tiny:
        return row / length
    return (row.double() / length).to(row.dtype)
