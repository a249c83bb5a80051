"""The trace of a symmetric operator from a few of its products.

Shapes: p parameters, k vectors of the sketch, h random vectors beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, sqrt

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from studyrun.curvature.gaussian import gaussian_vectors
from studyrun.curvature.operators import SymmetricOperator
from studyrun.curvature.subspace import NonFiniteProductError

FEWEST = 4  # a sketch of one vector, its image, and two vectors beside it, of which one alone had no spread


@dataclass(frozen=True, slots=True)
class TraceEstimate:
    """An unbiased estimate of a trace: `value` is `low_rank`, known exactly, plus the mean of `samples`.

    `standard_error` is 0 where the samples are none because the sketch spans everything, and the value exact. Where the
    operator gave NaN or infinity, value and standard error are NaN. `products` were spent.
    """

    value: float
    standard_error: float
    low_rank: float
    samples: Float64[Tensor, "h"]
    products: int


def operator_trace(
    operator: SymmetricOperator, *, products: int, generator: torch.Generator, sketch: int | None = None
) -> TraceEstimate:
    """Return tr H from `products` products, by Hutch++.

    Let Q (p, k) be an orthonormal basis of H S for a random S: it holds most of what is large in H. Then

        tr H = tr QᵀHQ + tr (1 − QQᵀ) H (1 − QQᵀ),

    the first exactly from the k products H Q, the second as the mean of zᵀHz over h vectors z, each drawn evenly from
    the sphere of radius √(p − k) in the complement of Q. Given Q they are independent, and the mean of each is the
    second trace: for any Q the estimate is unbiased. Its variance is thus the mean over Q of the variance given Q, for
    which s²/h, s² being the samples' own variance, is unbiased too. `standard_error` is s/√h, and the error in units of
    it follows Student's distribution with h − 1 degrees of freedom, as far as zᵀHz is normal (large p, none of the
    outliers left): of the intervals of ±1 standard error some 2/3 hold the truth.

    `sketch` is k, a third of the products by default; 0 is Hutchinson's estimator. With products ≥ p the trace is taken
    exactly, from p of them. Memory: about four blocks (p, max(k, h)). `generator` is on the CPU and names the same
    vectors on every device. Raises ValueError for fewer than 4 products, and for a sketch that leaves fewer than 2
    samples.

    Source: Meyer, Musco, Musco and Woodruff 2021, arXiv 2010.09649, Algorithm 1, with the sphere in place of random
    signs, under which the variance would depend on the basis (so Epperly, Tropp and Webber 2024, arXiv 2301.07825).
    """
    k = products // 3 if sketch is None else sketch
    if products < FEWEST or k < 0 or products - 2 * k < 2:
        raise ValueError(f"{products} products do not suffice for a sketch of {k} vectors and 2 samples beside it")
    before = operator.products
    try:
        if products >= operator.size:
            return _exact(operator)
        basis = _range(operator, k, generator)
        low_rank = float(_quadratic(operator, basis).sum())
        samples = _quadratic(operator, _beside(basis, gaussian_vectors(operator, products - 2 * k, generator).T))
    except NonFiniteProductError:
        return TraceEstimate(nan, nan, nan, torch.empty(0, dtype=torch.float64), operator.products - before)
    size = float(samples.abs().max()) or 1.0  # the squares of the samples may be no numbers
    spread = size * float((samples / size).std()) / sqrt(len(samples))
    return TraceEstimate(low_rank + float(samples.mean()), spread, low_rank, samples, operator.products - before)


def _exact(operator: SymmetricOperator) -> TraceEstimate:
    identity = torch.eye(operator.size, dtype=operator.dtype, device=operator.device)
    value = float(_quadratic(operator, identity).sum())
    return TraceEstimate(value, 0.0, value, torch.empty(0, dtype=torch.float64), operator.size)


def _range(operator: SymmetricOperator, k: int, generator: torch.Generator) -> Float[Tensor, "p k"]:
    """Return an orthonormal basis of H S, filled up at will where H has a lower rank."""
    if k == 0:
        return torch.empty(operator.size, 0, dtype=operator.dtype, device=operator.device)
    basis: Tensor = torch.linalg.qr(_finite(operator.matmat(gaussian_vectors(operator, k, generator).T))).Q
    return basis


def _beside(basis: Float[Tensor, "p k"], vectors: Float[Tensor, "p h"]) -> Float[Tensor, "p h"]:
    """Return the vectors without their part in `basis`, each of norm √(p − k)."""
    left = vectors - basis @ (basis.T @ vectors)
    norms = torch.linalg.vector_norm(left, dim=0, dtype=torch.float64)
    scaled: Tensor = left * (sqrt(basis.shape[0] - basis.shape[1]) / norms).to(left)
    return scaled


def _quadratic(operator: SymmetricOperator, block: Float[Tensor, "p b"]) -> Float64[Tensor, "b"]:
    """Return xᵀHx for each column x, summed in float64, on the CPU."""
    if block.shape[1] == 0:
        return torch.empty(0, dtype=torch.float64)
    return (block * _finite(operator.matmat(block))).sum(dim=0, dtype=torch.float64).cpu()


def _finite(images: Tensor) -> Tensor:
    if not torch.isfinite(images).all():
        raise NonFiniteProductError
    return images
