"""Numbers near the ends of their type: what is measured scales with the loss, however small or large that is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import sqrt

import numpy as np
import pytest
import torch
from torch import Tensor

from studyrun.curvature import (
    DenseOperator,
    GaussNewtonOperator,
    HessianOperator,
    cosines_squared,
    directional_derivatives,
    gradient_norms,
    magnitudes,
    norms,
    operator_trace,
    spectral_density,
    top_eigenpairs,
)
from studyrun.curvature.gradient_norms import find_gradient_norms
from studyrun.curvature.subspace import lengths


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@contextmanager
def flushed(on: bool) -> Iterator[None]:
    """Denormal numbers taken for zeros, as some programs set it for all."""
    torch.set_flush_denormal(on)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [("float32", s) for s in (1e-42, 1e-30, 1e-10, 1, 1e25, 2e38)]
    + [("float64", s) for s in (1e-320, 1e-200, 1, 1e300)],
)
def test_a_norm_is_right_at_any_size(dtype: str, size: float) -> None:
    row = torch.tensor([[3.0, 4.0] + [0.0] * 5000, [0.0] * 5002], dtype=getattr(torch, dtype)) * (size / 5)
    exact = sqrt(sum((float(x) / size) ** 2 for x in row[0])) * size
    for found in (norms(row), lengths(row)):
        np.testing.assert_allclose(found, [exact, 0], rtol=1e-6)
    assert magnitudes(row)[1] == 1
    assert 1 <= float(row[0].abs().max().double() / magnitudes(row)[0]) < 2


MATRIX = torch.linalg.qr(torch.randn(60, 60, generator=generator(), dtype=torch.float64)).Q
MATRIX = MATRIX * torch.linspace(-1, 3, 60, dtype=torch.float64) @ MATRIX.T


@pytest.mark.parametrize("scale", [1e-33, 1e-28, 1e-20, 1e20, 1e28, 1e33])
def test_eigenpairs_traces_and_densities_scale_with_the_matrix(scale: float) -> None:
    """In float32, where the squares of these are no numbers: a residual must not vanish with its square."""
    plain, scaled = (DenseOperator((MATRIX * factor).float()) for factor in (1, scale))
    one, other = (top_eigenpairs(each, 2, tolerance=1e-4, generator=generator()) for each in (plain, scaled))
    exact = torch.linalg.eigvalsh(MATRIX).flip(0)[:2]
    assert other.converged.all()
    assert (other.residuals > 0).all()
    np.testing.assert_allclose(other.known_values / scale, exact, rtol=1e-5)
    np.testing.assert_allclose(other.residuals / scale, one.residuals, rtol=1, atol=1e-5)
    np.testing.assert_allclose((one.vectors * other.vectors).sum(0).abs(), 1, rtol=1e-5)
    traces = [operator_trace(each, products=20, generator=generator()).value for each in (plain, scaled)]
    assert traces[1] / scale == pytest.approx(traces[0], rel=1e-4)
    nodes = [spectral_density(each, vectors=1, depth=6, generator=generator()).nodes for each in (plain, scaled)]
    np.testing.assert_allclose(nodes[1] / scale, nodes[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("flush", [False, True], ids=["denormal", "flushed"])
def test_of_a_denormal_matrix_an_eigenvalue_is_right_or_not_converged(flush: bool) -> None:
    with flushed(flush):
        operator = DenseOperator((MATRIX * 1e-40).float())
        found = top_eigenpairs(operator, 2, tolerance=1e-2, generator=generator())
        again = top_eigenpairs(operator, 2, tolerance=1e-2, start=found.warm, generator=generator())
    for pairs in (found, again):
        assert pairs.vectors.isfinite().all()
        np.testing.assert_allclose(lengths(pairs.vectors.T), 1, rtol=1e-5)
        known = pairs.known_values[pairs.converged]
        exact = torch.zeros(2) if flush else torch.linalg.eigvalsh(MATRIX).flip(0)[:2] * 1e-40
        np.testing.assert_allclose(known, exact[pairs.converged], rtol=1e-2, atol=0)
    assert all(bool(part.isfinite().all()) for part in found.warm.values() if isinstance(part, Tensor))


def test_a_zero_matrix_has_the_eigenvalue_zero_and_no_direction() -> None:
    found = top_eigenpairs(DenseOperator(torch.zeros(9, 9)), 2, tolerance=1e-3, generator=generator())
    assert found.known_values.tolist() == [0, 0]
    assert found.converged.all()
    assert found.known_vectors.isnan().all()
    assert all(bool(part.isfinite().all()) for part in found.warm.values() if isinstance(part, Tensor))
    warm = top_eigenpairs(
        DenseOperator(MATRIX.float()[:9, :9]), 2, tolerance=1e-4, start=found.warm, generator=generator()
    )
    np.testing.assert_allclose(warm.known_values, torch.linalg.eigvalsh(MATRIX[:9, :9]).flip(0)[:2], rtol=1e-5)


def test_what_follows_below_a_zero_matrix_is_no_nan() -> None:
    """Its guards are the residuals, zero, over the norm of the matrix, zero."""
    start = None
    for _ in range(3):
        found = top_eigenpairs(DenseOperator(torch.zeros(9, 9)), 1, tolerance=1e-3, start=start, generator=generator())
        start = found.warm | {"guards": torch.eye(9)[:, 3:4]}
        assert found.warm["guards"].isfinite().all()


def test_after_a_nan_the_next_solve_is_that_of_a_cold_start() -> None:
    broken = MATRIX.float().clone()
    broken[3, 4] = torch.nan
    first = top_eigenpairs(DenseOperator(MATRIX.float()), 2, tolerance=1e-4, generator=generator())
    lost = top_eigenpairs(DenseOperator(broken), 2, tolerance=1e-4, start=first.warm, generator=generator())
    assert lost.values.isnan().all()
    assert not lost.converged.any()
    assert all(bool(part.isfinite().all()) for part in lost.warm.values() if isinstance(part, Tensor))
    after = top_eigenpairs(DenseOperator(MATRIX.float()), 2, tolerance=1e-4, start=lost.warm, generator=generator())
    np.testing.assert_allclose(after.known_values, first.known_values, rtol=1e-6)


def question(scale: float, dtype: torch.dtype, logits: float | None = None):
    """A small network, the squared error times a scale, or the cross entropy of logits so large."""
    draw = generator()
    shapes = ((5, 4), (5,), (3, 5), (3,))
    parameters = [torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype) for shape in shapes]
    inputs = torch.randn(12, 4, generator=draw, dtype=torch.float64).to(dtype)
    targets = torch.randint(3, (12,), generator=draw)

    def outputs(own, x):
        hidden = torch.nn.functional.linear(x, own[0], own[1]).tanh()
        return torch.nn.functional.linear(hidden, own[2], own[3]) * (logits or 1)

    def loss(y, labels):
        if logits:
            return torch.nn.functional.cross_entropy(y, labels, reduction="none")
        return (y - torch.nn.functional.one_hot(labels, 3)).square().sum(1) * scale

    return outputs, loss, parameters, inputs, targets


def per_example(outputs, loss):
    return lambda own, x, labels: loss(outputs(own, x), labels)


@pytest.mark.parametrize("scale", [1e-30, 1e-24, 1e22, 1e30])
def test_norms_and_cosines_of_single_gradients_scale_with_the_loss(scale: float) -> None:
    """Their squares are no numbers in float32: a norm of zero would make any cosine one."""
    found = []
    for factor in (1.0, scale):
        outputs, loss, *rest = question(factor, torch.float32)
        losses, direction = per_example(outputs, loss), torch.randn(43, generator=generator())
        direction /= direction.norm()
        assert find_gradient_norms(losses, *rest).path == "activations"
        slopes = directional_derivatives(losses, *rest, direction, curvatures=False).slopes
        values = gradient_norms(losses, *rest)
        found.append((values.double() / factor, cosines_squared(slopes, values)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)


def test_of_examples_of_which_some_have_no_gradient_the_norms_are_right() -> None:
    outputs, loss, *rest = question(1.0, torch.float32)

    def some(y, labels):
        return loss(y, labels) * (labels > 0) * torch.tensor(1e-28).where(labels > 1, 1)

    values = gradient_norms(per_example(outputs, some), *rest)
    plain = gradient_norms(per_example(outputs, loss), *rest)
    factors = torch.tensor([0, 1, 1e-28])[rest[-1]]
    np.testing.assert_allclose(values, plain * factors, rtol=1e-5)


@pytest.mark.parametrize("logits", [1e3, 1e4])
def test_a_saturated_softmax_has_finite_derivatives_and_the_right_ones(logits: float) -> None:
    """Against float64 at the same parameters. What saturates there too is zero here."""
    answers = []
    for dtype in (torch.float32, torch.float64):
        outputs, loss, parameters, inputs, targets = question(1, dtype, logits)
        losses = per_example(outputs, loss)
        direction = torch.randn(43, generator=generator(), dtype=torch.float64).to(dtype)
        direction /= direction.norm()
        rest = (parameters, inputs, targets)
        along = directional_derivatives(losses, *rest, direction)
        products = [
            HessianOperator(losses, *rest, 5).matvec(direction),
            GaussNewtonOperator(outputs, loss, *rest, 5).matvec(direction),
        ]
        plain = losses(parameters, inputs, targets)
        answers.append([plain, along.slopes, along.curvatures, gradient_norms(losses, *rest), *products])
    for single, double in zip(*answers, strict=True):
        assert single.isfinite().all()
        np.testing.assert_allclose(single, double, rtol=1e-3, atol=1e-4 * float(double.abs().max()))
    assert float(answers[0][0].max()) > logits / 10, "the softmax is saturated on a wrong class"
    assert float(answers[0][0].min()) == 0, "and on a right one"
