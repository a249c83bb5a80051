"""The workbench on its own: orthonormal to rounding, T equal to Vᵀ H V, and the bound that `Sounding` rests on."""

from __future__ import annotations

import pytest
import torch

from studyrun.curvature import DenseOperator, SymmetricOperator, top_eigenpairs
from studyrun.curvature.sounding import Sounding
from studyrun.curvature.subspace import NonFiniteProductError, Subspace, inner, lengths


def random_rows(count, size, seed=0, dtype=torch.float64):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def symmetric(size, seed=0):
    matrix = random_rows(size, size, seed)
    return matrix + matrix.T


def krylov(operator, start, rounds):
    """A subspace grown by the residual of its top Ritz pair."""
    space = Subspace(operator)
    space.expand(start)
    for _ in range(rounds):
        ritz = space.ritz()
        space.expand(space.residual(ritz.rotation[:, :1], ritz.rotation[:, :1] * ritz.values[:1]))
    return space


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float64, 1e-14), (torch.float32, 2e-6)])
def test_the_basis_stays_orthonormal_even_for_nearly_parallel_directions(dtype, rounding):
    matrix = symmetric(60).to(dtype)
    space = Subspace(DenseOperator(matrix))
    base = random_rows(1, 60, 1, dtype)
    space.expand(torch.cat([base, base + 1e-3 * random_rows(1, 60, 2, dtype), random_rows(6, 60, 3, dtype)]))
    basis = space.combine(torch.eye(space.size, dtype=torch.float64)).double()
    assert space.size == 8
    assert float((basis @ basis.T - torch.eye(8)).abs().max()) < rounding
    image = space.residual(torch.eye(8, dtype=torch.float64), torch.zeros(8, 8, dtype=torch.float64))
    torch.testing.assert_close(image.double(), basis @ matrix.double(), rtol=0, atol=1e3 * rounding)


def departure(space):
    """How far the basis is from orthonormal."""
    basis = space.combine(torch.eye(space.size, dtype=torch.float64)).double()
    return float((basis @ basis.T - torch.eye(space.size)).abs().max())


def test_directions_that_lean_on_each_other_lose_no_more_together_than_alone():
    """Each keeps 6 % of its square beside the one before, so that together they are far worse than any two."""
    first, *others = torch.linalg.qr(random_rows(100, 16)).Q.T
    rows = [first]
    for fresh in others:
        rows.append(0.94**0.5 * rows[-1] + 0.06**0.5 * fresh)
    space = Subspace(DenseOperator(symmetric(100).float()))
    assert space.expand(torch.stack(rows).float()) == 16
    assert departure(space) < 1e-6


@pytest.mark.parametrize("size", [1e-18, 1e-20, 1e-22, 1e-30])
def test_directions_whose_squares_leave_the_range_of_float32_are_made_orthonormal_too(size):
    space = Subspace(DenseOperator(symmetric(400).float()))
    assert space.expand(size * random_rows(4, 400, 1, torch.float32)) == 4
    assert departure(space) < 1e-6


def test_ritz_values_interlace_and_residuals_are_orthogonal_to_the_space():
    matrix = symmetric(40)
    space = krylov(DenseOperator(matrix), random_rows(2, 40, 1), 6)
    ritz, truth = space.ritz(), torch.linalg.eigvalsh(matrix).flip(0)
    assert bool((ritz.values <= truth[: space.size] + 1e-12).all())
    assert bool((ritz.values >= truth[-space.size :] - 1e-12).all())
    gaps = space.residual(ritz.rotation, ritz.rotation * ritz.values)
    assert float(space.coordinates(gaps).abs().max()) < 1e-12


def test_what_is_not_new_costs_no_product():
    operator = DenseOperator(symmetric(30))
    space = Subspace(operator)
    rows = random_rows(3, 30)
    assert space.expand(rows) == 3
    assert space.expand(torch.stack([rows[0] - 2 * rows[1], torch.zeros(30), torch.full((30,), torch.nan)])) == 0
    assert space.expand(rows[:1] + 1e-5 * random_rows(1, 30, 7), noise=1e-3) == 0
    assert operator.products == 3
    assert space.expand(random_rows(50, 30, 4)) == 27
    assert space.full


def test_a_restart_keeps_the_chosen_vectors_and_spends_nothing():
    operator = DenseOperator(symmetric(40))
    space = krylov(operator, random_rows(1, 40, 1), 9)
    before, spent = space.ritz(), operator.products
    top = space.combine(before.rotation[:, :3])
    space.restart(before.rotation[:, :3])
    after = space.ritz()
    assert (space.size, operator.products) == (3, spent)
    torch.testing.assert_close(after.values, before.values[:3])
    overlaps = inner(space.combine(after.rotation), top).abs()
    torch.testing.assert_close(overlaps, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-12)


def test_an_infinite_product_is_an_error():
    matrix = symmetric(10)
    matrix[3, 3] = torch.inf
    with pytest.raises(NonFiniteProductError):
        Subspace(DenseOperator(matrix)).expand(random_rows(1, 10))


def test_inner_products_of_float32_lose_no_digit_to_length():
    """A plain float32 product of two million entries is off by 1e-5 to 1e-4; slices of 4,096 keep it at roundoff."""
    rows = 1 + 0.1 * random_rows(2, 2_000_003, dtype=torch.float32)
    torch.testing.assert_close(inner(rows, rows), rows.double() @ rows.double().T, rtol=1e-7, atol=0)


def sounded(operator, held, rounds, seed=0, known=6):
    """A space that knew `held` Ritz vectors before z was drawn, and has followed z since, at a level well above."""
    space = krylov(operator, random_rows(1, operator.size, seed), known)
    aside = torch.nn.functional.pad(space.ritz().rotation[:, :held], (0, 0, 0, 1))
    z = random_rows(1, operator.size, seed + 1)
    z /= z.norm()
    space.expand(z)
    sounding = Sounding(aside, space.coordinates(z)[:, 0])
    level = 1.3 * float(torch.linalg.eigvalsh(operator.matrix).max())
    for _ in range(rounds):
        space.expand(sounding.rest(space).doubt(level)[1])
    return space, sounding, z[0], level


@pytest.mark.parametrize("held", [1, 2, 3])
def test_the_doubt_is_the_residual_of_z_solved_beside_the_pairs(held):
    """By the compressed matrix N itself, dense: u = z − (μ − N) x, x the Galerkin solution, all orthogonal to Y."""
    operator = DenseOperator(symmetric(30))
    space, sounding, z, level = sounded(operator, held, 4)
    basis = space.combine(torch.eye(space.size, dtype=torch.float64)).T
    aside = basis @ torch.nn.functional.pad(sounding._aside, (0, 0, 0, space.size - len(sounding._aside)))
    beside = torch.eye(30, dtype=torch.float64) - aside @ aside.T
    compressed = beside @ operator.matrix @ beside
    across = torch.linalg.svd(beside @ basis).U[:, : space.size - held]
    x = across @ torch.linalg.solve(
        level * torch.eye(across.shape[1], dtype=torch.float64) - across.T @ compressed @ across, across.T @ z
    )
    u = beside @ z - level * x + compressed @ x
    rest = sounding.rest(space)
    doubt, direction = rest.doubt(level)
    torch.testing.assert_close(direction[0] / rest.size(level), u, rtol=1e-8, atol=1e-11)
    assert doubt == pytest.approx(float(u.norm()) * (2 * 30 / torch.pi) ** 0.5)
    assert rest.highest == pytest.approx(float(torch.linalg.eigvalsh(across.T @ compressed @ across).max()))
    torch.testing.assert_close(basis @ rest.solution(level) / rest.size(level), x, rtol=1e-8, atol=1e-11)


def test_a_level_that_the_space_itself_exceeds_is_past_doubt():
    space, sounding, _, _ = sounded(DenseOperator(symmetric(30)), 1, 2)
    rest = sounding.rest(space)
    assert rest.doubt(rest.highest)[0] == rest.doubt(-torch.inf)[0] == rest.doubt(torch.inf)[0] == torch.inf


def test_the_doubt_survives_a_restart():
    """Y, z and the solution x are kept, and x solves the Galerkin equations in any smaller space that holds it too."""
    space, sounding, _, level = sounded(DenseOperator(symmetric(60)), 2, 8)
    before, direction = sounding.rest(space).doubt(level)
    ritz = space.ritz()
    kept = torch.linalg.qr(torch.cat([ritz.rotation[:, :3], sounding.keep(space, level)], dim=1)).Q
    sounding = sounding.restarted(space, kept)
    space.restart(kept)
    after, same = sounding.rest(space).doubt(level)
    assert space.size == 7
    assert before < 0.5
    assert after == pytest.approx(before, rel=1e-8)
    torch.testing.assert_close(same, direction, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("rounds", [0, 1, 3, 6])
def test_no_eigenvector_beside_the_pairs_has_more_of_z_than_is_left_over(seed, rounds):
    """|w·z| ≤ ‖u(ν)‖ for the top eigenpair (ν, w) of the compressed matrix, wherever the space is still below ν."""
    operator = DenseOperator(symmetric(40, seed))
    space, sounding, z, _ = sounded(operator, 1, rounds, seed)
    aside = space.combine(torch.nn.functional.pad(sounding._aside, (0, 0, 0, space.size - len(sounding._aside))))[0]
    beside = torch.eye(40, dtype=torch.float64) - torch.outer(aside, aside)
    values, vectors = torch.linalg.eigh(beside @ operator.matrix @ beside)
    rest = sounding.rest(space)
    assert rest.highest < values[-1]
    doubt, u = rest.doubt(float(values[-1]))
    assert abs(float(vectors[:, -1] @ z)) <= float(u.norm()) / rest.size(float(values[-1])) * (1 + 1e-9)
    assert rest.doubt(2 * float(values[-1]))[0] < doubt, "the higher the level, the less room for doubt"


class Diagonal(SymmetricOperator):
    """diag(d) in float32, too large for a matrix."""

    def __init__(self, diagonal: torch.Tensor) -> None:
        super().__init__(len(diagonal), diagonal.dtype, diagonal.device)
        self.diagonal = diagonal

    def _apply(self, vector: torch.Tensor) -> torch.Tensor:
        return self.diagonal * vector


@pytest.mark.parametrize("size", [1, 4095, 4096, 2_000_001])
def test_lengths_are_right_to_rounding_whatever_the_size(size: int) -> None:
    """One float32 sum over 2·10⁶ entries may be off by 1e-4; sums over slices of 4,096 are within 4,096 roundings."""
    rows = torch.randn(2, size, generator=torch.Generator().manual_seed(0)) + 3
    torch.testing.assert_close(lengths(rows), rows.double().norm(dim=1), rtol=2e-6, atol=0)


def test_an_eigenvalue_of_a_large_float32_operator_has_no_bias() -> None:
    """λ_1 = 2 stands clear of a bulk in [0, 1], so the Rayleigh quotient is right to the square of the residual."""
    diagonal = torch.rand(2_000_000, generator=torch.Generator().manual_seed(0))
    diagonal[: 10**5] = 2.0  # so that v_1 has many entries, as a network's has
    found = top_eigenpairs(Diagonal(diagonal), 1, tolerance=1e-4, generator=torch.Generator().manual_seed(1))
    vector = found.vectors[:, 0].double()
    assert float(vector.norm()) == pytest.approx(1, abs=2e-6)
    assert float(found.values[0]) == pytest.approx(2, rel=2e-6)
