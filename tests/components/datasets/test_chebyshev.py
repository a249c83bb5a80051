from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from studyrun.components.datasets.chebyshev import Chebyshev
from studyrun.plugin import Data


def load(**options: int) -> Data:
    return Chebyshev(**options).load(Path("nowhere"), torch.Generator())


@pytest.mark.parametrize("degree", range(8))
def test_targets_follow_the_cosine_identity(degree: int) -> None:
    data = load(degree=degree, points=33)
    x, y = data.train.inputs.numpy(), data.train.targets.numpy()
    np.testing.assert_allclose(y, np.cos(degree * np.arccos(x)), atol=1e-13)


@pytest.mark.parametrize(
    ("degree", "coefficients"), [(3, [4, 0, -3, 0]), (4, [8, 0, -8, 0, 1]), (5, [16, 0, -20, 0, 5, 0])]
)
def test_the_papers_degrees_have_their_textbook_coefficients(degree: int, coefficients: list[int]) -> None:
    data = load(degree=degree)
    np.testing.assert_allclose(data.train.targets, np.polyval(coefficients, data.train.inputs), atol=1e-13)


def test_points_are_even_from_end_to_end() -> None:
    data = load(points=20)
    x = data.train.inputs
    assert x.shape == data.train.targets.shape == (20, 1)
    assert x.dtype == data.train.targets.dtype == torch.float64
    assert (x[0], x[-1]) == (-1, 1)
    torch.testing.assert_close(x.diff(dim=0), torch.full((19, 1), 2 / 19, dtype=torch.float64))
    assert data.test is None
    assert data.classes == ()
    assert data.outputs == 1


def test_a_test_grid_lies_on_the_same_curve() -> None:
    data = load(degree=3, test_points=101)
    assert data.test is not None
    x = data.test.inputs
    assert len(data.test) == 101
    torch.testing.assert_close(data.test.targets, 4 * x**3 - 3 * x)
    assert load(test_points=1).test.inputs.tolist() == [[0.0]]
