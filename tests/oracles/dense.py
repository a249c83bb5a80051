"""The Hessian entry by entry, from torch.func in float64: the truth for every product and eigenpair."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def dense_hessian(
    per_example: Callable[[Sequence[Tensor], Tensor, Tensor], Tensor],
    parameters: Sequence[Tensor],
    inputs: Tensor,
    targets: Tensor,
) -> Tensor:
    """Return ∇² of the mean of `per_example`, (p, p), by torch.func.hessian on the flattened parameters in float64."""
    shapes = [parameter.shape for parameter in parameters]
    sizes = [parameter.numel() for parameter in parameters]
    point = torch.cat([parameter.detach().double().reshape(-1) for parameter in parameters])
    targets = targets.double() if targets.is_floating_point() else targets

    def mean_loss(vector: Tensor) -> Tensor:
        parts = [part.reshape(shape) for part, shape in zip(vector.split(sizes), shapes, strict=True)]
        return per_example(parts, inputs.double(), targets).mean()

    return torch.func.hessian(mean_loss)(point).detach()


def top_of(matrix: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k algebraically largest eigenvalues, descending, and their eigenvectors as columns."""
    values, vectors = torch.linalg.eigh(matrix)
    return values.flip(0)[:k], vectors.flip(1)[:, :k]
