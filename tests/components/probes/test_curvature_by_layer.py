"""Shares of the top eigenvector, and of the squared gradient's running average, by parameter tensor."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from studyrun.components.probes.curvature_by_layer import CurvatureByLayer


def test_the_shares_are_those_of_the_dense_top_eigenvector(keep) -> None:
    kept = keep("  - {use: curvature_by_layer, every: 2, tolerance: 1.0e-8}\n", "stop.steps=5")
    probe = kept.run["baseline"]["curvature_by_layer"]
    assert list(probe["share"].labels["tensor"]) == list(kept.problem.parameter_shapes)
    for _, reading, flat in kept.rows("curvature_by_layer"):
        top = torch.linalg.eigh(kept.hessian(flat)).eigenvectors[:, -1]
        exact = [float(part.square().sum()) for part in top.split(kept.sizes())]
        np.testing.assert_allclose(reading["share"], exact, rtol=1e-6)  # residual over gap, about 1e-7 of an angle
        assert reading["share"].sum() == pytest.approx(1, abs=1e-12)
        assert reading["converged"]
        assert reading["residual"] > 0


def test_the_running_average_is_adams_own(keep) -> None:
    """Adam's `exp_avg_sq` after step t holds the gradients at θ_0 … θ_{t−1}: this probe's reading one row before."""
    kept = keep(
        "  - {use: curvature_by_layer, of: gradient_square, decay: 0.9, every: 1}\n",
        "optimizer={use: adam, lr: 0.01, betas: [0.5, 0.9]}",
        "stop.steps=5",
    )
    share = kept.run["baseline"]["curvature_by_layer"]["share"]
    assert "running average of the squared gradient" in share.long_name
    for step in range(1, 6):
        sums = [float(state["exp_avg_sq"].sum()) for state in kept.state(step)["optimizer"].values()]
        np.testing.assert_allclose(share.values[step - 1], np.array(sums) / sum(sums), rtol=1e-10)


def test_the_average_costs_no_product(keep) -> None:
    arm = keep("  - {use: curvature_by_layer, of: gradient_square, every: 1}\n", "stop.steps=2").run["baseline"]
    assert set(arm["curvature_by_layer"].channels) == {"share"}
    assert "eigenpairs" not in str(arm.attributes["shared_seconds"])


def test_a_gradient_that_is_no_number_does_not_enter_the_average() -> None:
    """It would never leave it."""
    probe, carry, shares = CurvatureByLayer(of="gradient_square", decay=0.5), None, []
    parameters = {"a": torch.zeros(1), "b": torch.zeros(2)}
    for entries in ([1.0, 1.0, 0.0], [torch.nan, 1.0, 1.0], [1.0, 0.0, 0.0]):
        snapshot = SimpleNamespace(gradient=torch.tensor(entries), parameters=parameters)
        reading, carry = probe.measure(snapshot, carry)
        shares.append(reading["share"].tolist())
    assert shares[0] == [0.5, 0.5]
    assert all(share != share for share in shares[1])
    assert shares[2] == pytest.approx([0.75, 0.25])
