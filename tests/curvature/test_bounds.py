"""The bound of Kato and Temple, by hand and on matrices."""

from __future__ import annotations

import pytest
import torch

from studyrun.curvature.bounds import ritz_bounds


def vector(*entries):
    return torch.tensor(entries, dtype=torch.float64)


def matrix(size, seed):
    found = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return found + found.T


@pytest.mark.parametrize(
    ("level", "gap", "error"),
    [(2.0, 3.0, 0.01 / 3), (4.9, 0.1, 0.05**0.5 * 0.1), (None, torch.nan, 0.1), (-torch.inf, torch.inf, 0.0)],
)
def test_a_lone_pair_has_the_gap_down_to_the_level(level, gap, error):
    errors, gaps = ritz_bounds(vector(5), vector(0.1), level)
    torch.testing.assert_close(gaps, vector(gap), equal_nan=True)
    assert float(errors) <= max(error, 0.1) + 1e-15
    if level != 4.9:
        torch.testing.assert_close(errors, vector(error))


def test_with_nothing_known_below_the_last_pair_has_its_residual_and_the_first_the_gap_between_them():
    errors, gaps = ritz_bounds(vector(5, 2), vector(0.3, 0.4), None)
    torch.testing.assert_close(gaps, vector(2.5, torch.nan), equal_nan=True)  # ‖R‖ = 0.5 is taken off
    torch.testing.assert_close(errors, vector(0.09 / 2.5, 0.4))


def test_pairs_that_are_not_told_apart_share_the_gap_below_them():
    errors, gaps = ritz_bounds(vector(5, 4.9), vector(0.3, 0.4), 1.0)
    assert gaps.tolist() == [0.0, 0.0]
    nu = 1 + 0.25 / 3.9
    top = torch.linalg.eigvalsh(torch.tensor([[5, 0.5], [0.5, nu]], dtype=torch.float64))[-1] - 5
    assert float(errors[0]) == pytest.approx(float(top))


@pytest.mark.parametrize("size", [1e-300, 1e-170, 1e170, 1e300])
def test_what_has_no_square_has_bounds_all_the_same(size):
    plain, scaled = (ritz_bounds(f * vector(5, 2), f * vector(0.1, 0.2), f * 1.5) for f in (1, size))
    for one, other in zip(plain, scaled, strict=True):
        torch.testing.assert_close(other / size, one)


@pytest.mark.parametrize("m", [1, 2, 3])
@pytest.mark.parametrize("seed", range(40))
def test_the_bounds_hold_for_blurred_eigenvectors_of_any_matrix(seed, m):
    """The true λ_{m+1} as the level; every second matrix has its first two eigenvalues drawn close together."""
    values, vectors = torch.linalg.eigh(matrix(14, seed))
    values[-2:] = values[-1] - vector(10.0 ** -(seed % 5), 0) if seed % 2 else values[-2:]
    dense = (vectors * values) @ vectors.T
    noise = torch.randn(14, m, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    basis = torch.linalg.qr(vectors[:, -m:] + 10.0 ** -(seed % 4 + 2) * noise).Q
    theta, rotation = torch.linalg.eigh(basis.T @ dense @ basis)
    pairs, theta = (basis @ rotation).flip(1), theta.flip(0)
    residuals = (dense @ pairs - pairs * theta).norm(dim=0)
    truth, level = values.sort(descending=True).values, float(values.sort().values[-m - 1])
    if float(theta[-1]) - float(residuals.norm()) <= level:
        pytest.skip("too blurred to be counted")
    errors, gaps = ritz_bounds(theta, residuals, level)
    assert bool(((theta - truth[:m]).abs() <= errors + 1e-12).all())
    for i in range(m):
        others = torch.cat([truth[:i], truth[i + 1 :]])
        assert float((others - theta[i]).abs().min()) >= float(gaps[i]) - 1e-12
