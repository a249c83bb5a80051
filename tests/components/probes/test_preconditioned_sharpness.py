"""The top eigenvalues of P⁻¹H against dense matrices and the optimizers' own updates."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from studyrun.components.probes.preconditioned_sharpness import PreconditionedSharpness
from studyrun.engine.run import prepare
from studyrun.errors import ProbeError

PROBE = "  - {use: preconditioned_sharpness, k: 2, every: 1, tolerance: 1.0e-8}\n"
ADAM = "optimizer={use: adam, lr: 0.001, betas: [0.8, 0.95], eps: 1.0e-6}"
RMSPROP = "optimizer={use: rmsprop, lr: 0.001, alpha: 0.9, eps: 1.0e-6}"


def adams_diagonal(state) -> torch.Tensor:
    """P with θ_t − θ_{t−1} = −η P⁻¹ m_t, from the state after step t."""
    steps = float(state["step"])
    return (1 - 0.8**steps) * ((state["exp_avg_sq"] / (1 - 0.95**steps)).sqrt() + 1e-6)


DIAGONALS = {ADAM: adams_diagonal, RMSPROP: lambda state: state["square_avg"].sqrt() + 1e-6}


@pytest.mark.parametrize("optimizer", DIAGONALS, ids=["adam", "rmsprop"])
def test_it_is_the_spectrum_of_the_dense_matrix(keep, optimizer: str) -> None:
    kept, checked = keep(PROBE, optimizer, "stop.steps=6"), 0
    for step, reading, flat in kept.rows("preconditioned_sharpness"):
        if step == 0:
            assert np.isnan(reading["eigenvalue"]).all()
            assert not reading["converged"].any()
            continue
        states = kept.state(step)["optimizer"].values()
        diagonal = torch.cat([DIAGONALS[optimizer](state).flatten() for state in states])
        exact = torch.linalg.eigvals(kept.hessian(flat) / diagonal[:, None]).real.sort().values.flip(0)[:2]
        np.testing.assert_allclose(reading["eigenvalue"], exact.numpy(), rtol=1e-9)
        assert reading["converged"].all()
        checked += 1
    assert checked == 6


def test_under_gradient_descent_it_is_the_sharpness(keep) -> None:
    kept = keep(PROBE + "  - {use: sharpness, k: 2, every: 1, tolerance: 1.0e-8}\n", "stop.steps=3")
    ours, theirs = (
        kept.run["baseline"][name]["eigenvalue"].values for name in ("preconditioned_sharpness", "sharpness")
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_the_value_missing_before_the_first_step_is_no_fault_that_the_run_warns_of(keep) -> None:
    kept = keep(PROBE, ADAM, "stop.steps=2")
    assert kept.run["baseline"]["preconditioned_sharpness"]["eigenvalue"].standard_name == "preconditioned_sharpness"
    assert "warning" not in (kept.folder / "events.jsonl").read_text()


def test_the_trigger_at_the_edge_finds_it(keep) -> None:
    branch = (
        "branches: {slow: {at: {use: edge_of_stability, after_step: 0, factor: 1.0e-6}, set: {optimizer.lr: 1.0e-4}}}\n"
    )
    kept = keep(PROBE + branch, ADAM, "stop.steps=4")
    assert kept.run.arms["slow"].fork_step == 1, "at step 0 there is only NaN"
    assert kept.run.arms["baseline"].threshold == pytest.approx(2 * 1.8 / 0.2 / 0.001)


def test_more_eigenvalues_than_parameters_are_refused(tiny, data_folder) -> None:
    study = tiny("  - {use: preconditioned_sharpness, k: 60}\n", "model.hidden=[1]", "dataset.pixels=6")
    with pytest.raises(ProbeError, match="preconditioned_sharpness cannot give k = 60 eigenvalues of 41 parameters"):
        prepare(study, data_folder)


def test_full_batch_adam_settles_at_its_threshold(tiny, carry_out) -> None:
    """38/η at β1 = 0.9 (arXiv 2207.14484, Figure 1), for which the squared gradient's average must be long enough."""
    study = tiny(
        "  - {use: preconditioned_sharpness, every: 10}\n",
        "model={use: mlp, hidden: [16, 16], activation: tanh}",
        "dataset.size=64",
        "dataset.pixels=8",
        "groups=null",
        "optimizer={use: adam, lr: 0.02, betas: [0.9, 0.99]}",
        "stop.steps=900",
    )
    arm = carry_out(study)["baseline"]
    share = arm["preconditioned_sharpness"]["eigenvalue"].values[1:, 0] / arm.threshold
    assert share[:5].max() < 0.5, "it starts far below"
    assert 0.8 < np.median(share[-30:]) < 1.1


@pytest.mark.parametrize("entry", [0.0, float("nan"), float("inf")])
def test_a_preconditioner_that_cannot_be_divided_by_gives_no_eigenvalue(entry: float) -> None:
    snapshot, carry = SimpleNamespace(preconditioner=torch.tensor([1.0, entry, 2.0])), {"as": "it was"}
    reading, after = PreconditionedSharpness(k=2).measure(snapshot, carry)
    assert reading["eigenvalue"].isnan().all()
    assert not reading["converged"].any()
    assert after is carry
