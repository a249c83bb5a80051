"""The finite data set against the population loss of the paper: Eq 4, its gradients Eq 5 to 7, and Eq 4's Hessian."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from studyrun.components.datasets.opposing_signals import OpposingSignals

D1, D2, ALPHA, BETA = 3, 4, 7.0, 2.5
BOTH = pytest.mark.parametrize("design", ["isotropic", "all_ones"])


def load(design: str = "isotropic", seed: int = 0) -> tuple[Tensor, Tensor]:
    options = {"signal": D1, "opposing": D2, "alpha": ALPHA, "beta_norm": BETA, "size": 90, "outliers": 32}
    data = OpposingSignals(design=design, **options).load(Path("nowhere"), torch.Generator().manual_seed(seed))
    assert data.test is None
    assert data.outputs == 1
    return data.train.inputs, data.train.targets


def random_parameters(seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(size, generator=generator, dtype=torch.float64) for size in (D1, D2, ()))


def empirical(inputs: Tensor, targets: Tensor, b: Tensor, b_o: Tensor, c: Tensor) -> Tensor:
    """½ mean (f − y)²."""
    outputs = c * (inputs[:, :D1] @ b + inputs[:, D1:] @ b_o)
    return ((outputs - targets[:, 0]) ** 2).mean() / 2


def beta() -> Tensor:
    return BETA * torch.eye(D1, dtype=torch.float64)[0]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_loss_is_eq_4(seed: int) -> None:
    b, b_o, c = random_parameters(seed)
    eq_4 = (c * b - beta()).square().sum() + ALPHA * (c**2 * b_o.square().sum() + 1)
    torch.testing.assert_close(empirical(*load(seed=seed), b, b_o, c), eq_4 / 2, rtol=1e-12, atol=0)


def test_gradients_are_eq_5_to_7() -> None:
    inputs, targets = load()
    point = random_parameters()
    b, b_o, c = point
    gradients = torch.func.grad(lambda p: empirical(inputs, targets, *p))(point)
    expected = (
        c * (c * b - beta()),
        ALPHA * c**2 * b_o,
        b @ (c * b - beta()) + ALPHA * b_o.square().sum() * c,
    )
    torch.testing.assert_close(gradients, expected, rtol=1e-12, atol=1e-12)


def test_hessian_is_that_of_eq_4() -> None:
    # Eq 8 of the paper prints 2cb in the corner; differentiating Eq 5 by c gives 2cb − β.
    inputs, targets = load()
    flat = torch.cat([part.flatten() for part in random_parameters()])
    b, b_o, c = flat[:D1], flat[D1:-1], flat[-1]
    hessian = torch.func.hessian(lambda p: empirical(inputs, targets, p[:D1], p[D1:-1], p[-1]))(flat)
    expected = torch.zeros(D1 + D2 + 1, D1 + D2 + 1, dtype=torch.float64)
    expected[:D1, :D1] = c**2 * torch.eye(D1, dtype=c.dtype)
    expected[D1:-1, D1:-1] = ALPHA * c**2 * torch.eye(D2, dtype=c.dtype)
    expected[:D1, -1] = expected[-1, :D1] = 2 * c * b - beta()
    expected[D1:-1, -1] = expected[-1, D1:-1] = 2 * c * ALPHA * b_o
    expected[-1, -1] = b.square().sum() + ALPHA * b_o.square().sum()
    torch.testing.assert_close(hessian, expected, rtol=1e-12, atol=1e-12)


@BOTH
def test_moments_are_the_populations(design: str) -> None:
    inputs, targets = load(design)
    x, x_o, n = inputs[:, :D1], inputs[:, D1:], len(inputs)
    signal = targets[:, 0] - x @ beta()
    ones = torch.ones(D2, D2, dtype=torch.float64) / D2
    second = ALPHA * (torch.eye(D2, dtype=torch.float64) if design == "isotropic" else ones)

    def close(value: Tensor, expected: Tensor | float) -> None:
        torch.testing.assert_close(
            value, torch.as_tensor(expected, dtype=torch.float64).expand_as(value), atol=1e-12, rtol=1e-12
        )

    close(x.T @ x / n, torch.eye(D1, dtype=torch.float64))
    close(x_o.T @ x_o / n, second)
    close(signal.square().mean(), ALPHA)
    close(x.T @ x_o / n, 0.0)
    close(x.T @ signal / n, 0.0)
    close(x_o.T @ signal / n, 0.0)
    close(x.mean(0), 0.0)


def test_the_papers_distribution_gives_its_own_loss() -> None:
    b, b_o, c = random_parameters()
    expected = (c * b - beta()).square().sum() + ALPHA * (c**2 * b_o.sum() ** 2 / D2 + 1)
    torch.testing.assert_close(empirical(*load("all_ones"), b, b_o, c), expected / 2, rtol=1e-12, atol=0)


def test_the_papers_outliers_are_plus_and_minus_one_vector_with_one_signal() -> None:
    inputs, targets = load("all_ones")
    x_o, p = inputs[:32, D1:], 32 / 90
    torch.testing.assert_close(x_o.abs(), torch.full_like(x_o, (ALPHA / (p * D2)) ** 0.5))
    assert (x_o[:16] > 0).all()
    assert (x_o[16:] < 0).all()
    assert (inputs[32:, D1:] == 0).all()
    signal = targets[:, 0] - inputs[:, :D1] @ beta()
    expected = x_o.abs().sum(dim=1) / D2**0.5  # y's second term, 1ᵀ|x_o| / √d2
    torch.testing.assert_close(signal[:32], expected)


def test_the_seed_draws_x() -> None:
    assert torch.equal(load(seed=3)[0], load(seed=3)[0])
    assert not torch.equal(load(seed=3)[0], load(seed=4)[0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"opposing": 4, "outliers": 12}, "outliers must be a multiple of 16 for the moments to come out, not 12"),
        ({"design": "all_ones", "outliers": 6}, "outliers must be a multiple of 4"),
        ({"opposing": 2, "outliers": 16, "size": 15}, r"size must be even and at least outliers \(16\), not 15"),
        ({"opposing": 2, "outliers": 16, "size": 14}, r"size must be even and at least outliers \(16\), not 14"),
        ({"opposing": 1, "outliers": 4, "size": 6, "signal": 3}, "6 examples are too few for .* signal 3; raise size"),
    ],
)
def test_counts_that_cannot_come_out_are_refused(options: dict, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        OpposingSignals(**options)
