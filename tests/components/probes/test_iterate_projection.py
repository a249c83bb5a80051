"""Projections on an eigenvector frozen at a trigger, against dense eigenvectors and checkpoints."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import assert_same_channels

from studyrun.engine.checkpoint import load
from studyrun.engine.events import Silent
from studyrun.engine.run import execute, prepare, resume
from studyrun.errors import ProbeError
from studyrun.trace.reader import open_run

FREEZE = "freeze: {use: step, step: 3}"
PROBE = "  - {{use: iterate_projection, every: 1, tolerance: 1.0e-9, {}}}\n"


def frozen(kept, step: int, k: int = 1) -> torch.Tensor:
    return torch.linalg.eigh(kept.hessian(kept.flat(step))).eigenvectors[:, -k]


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("reference", ["freezing", "first"])
def test_the_projection_is_on_the_dense_eigenvector_of_the_frozen_step(keep, k: int, reference: str) -> None:
    kept = keep(PROBE.format(f"{FREEZE}, k: {k}, reference: {reference}"), "stop.steps=8")
    vector, origin = frozen(kept, 3, k), kept.flat(3 if reference == "freezing" else 0)
    exact = np.array([float((flat - origin) @ vector) for _, _, flat in kept.rows("iterate_projection")])
    probe = kept.run["baseline"]["iterate_projection"]
    found = probe["projection"].values
    assert np.isnan(found[:3]).all()
    sign = np.sign(found[-1] * exact[-1])
    np.testing.assert_allclose(found[3:], sign * exact[3:], rtol=1e-6, atol=1e-10)
    assert probe["frozen_step"].values.tolist() == [-1, -1, -1, 3, 3, 3, 3, 3, 3]
    values = torch.linalg.eigvalsh(kept.hessian(kept.flat(3)))
    np.testing.assert_allclose(probe["eigenvalue_then"].values[3:], float(values[-k]), rtol=1e-9)
    assert probe["converged"].values.tolist() == [False] * 3 + [True] * 6
    assert "warning" not in (kept.folder / "events.jsonl").read_text()


def test_the_effective_step_is_the_learning_rate_under_gradient_descent(keep) -> None:
    kept = keep(PROBE.format(FREEZE), "stop.steps=5")
    probe, vector = kept.run["baseline"]["iterate_projection"], frozen(kept, 3)
    np.testing.assert_allclose(probe["effective_step"].values[3:], 0.01, rtol=1e-9)
    np.testing.assert_allclose(probe["step_along"].values[3:], 0.01 * abs(float(vector.sum())), rtol=1e-5)


def test_the_effective_step_divides_by_adams_own_preconditioner(keep) -> None:
    adam = "optimizer={use: adam, lr: 0.002, betas: [0.8, 0.95], eps: 1.0e-6}"
    kept = keep(PROBE.format(FREEZE), adam, "stop.steps=6")
    vector, checked = frozen(kept, 3), 0
    for step, reading, _ in list(kept.rows("iterate_projection"))[3:]:
        parts = []
        for state in kept.state(step)["optimizer"].values():
            steps = float(state["step"])
            root = (state["exp_avg_sq"] / (1 - 0.95**steps)).sqrt() + 1e-6
            parts.append(0.002 / ((1 - 0.8**steps) * root).flatten())
        sizes = torch.cat(parts)
        assert reading["effective_step"] == pytest.approx(float(sizes @ vector.square()), rel=1e-6)
        assert reading["step_along"] == pytest.approx(abs(float(sizes @ vector)), rel=1e-4)
        checked += 1
    assert checked == 4


def test_without_a_trigger_it_freezes_at_once(keep) -> None:
    probe = keep(PROBE.format("k: 1"), "stop.steps=3").run["baseline"]["iterate_projection"]
    assert probe["frozen_step"].values.tolist() == [0, 0, 0, 0]
    assert probe["projection"].values[0] == 0
    assert (probe["projection"].values[1:] != 0).all()


def test_it_freezes_where_a_trigger_sees_what_another_probe_recorded(keep) -> None:
    probes = "  - {use: sharpness, every: 1}\n"
    edge = "freeze: {use: edge_of_stability, after_step: 1, factor: 1.0e-3}"
    probe = keep(probes + PROBE.format(edge), "stop.steps=4").run["baseline"]["iterate_projection"]
    assert probe["frozen_step"].values.tolist() == [-1, -1, 2, 2, 2]


def test_a_branch_goes_on_with_what_its_parent_froze(keep) -> None:
    branch = "branches: {slow: {at: {use: step, step: 5}, set: {optimizer.lr: 0.002}}}\n"
    kept = keep(PROBE.format(FREEZE) + branch, "stop.steps=8")
    trunk, slow = (kept.run[arm]["iterate_projection"] for arm in ("baseline", "slow"))
    assert slow["frozen_step"].values.tolist() == [3, 3, 3, 3]
    assert slow["projection"].values[0] == trunk["projection"].values[5]
    np.testing.assert_allclose(slow["effective_step"].values, 0.002, rtol=1e-9)


EDGE = "use: edge_of_stability, after_step: 1, factor: 1.0e-2"
FROZEN_AT_THE_EDGE = "  - {use: sharpness, every: 1}\n" + PROBE.format(f"freeze: {{{EDGE}}}")


def test_a_branch_that_forks_at_the_freezing_shares_what_its_parent_froze_there(keep) -> None:
    """Both slow arms are far from their own edge, and the second forks from the first before that takes a step."""
    branches = f"""\
branches:
  slow: {{at: {{{EDGE}}}, set: {{optimizer.lr: 1.0e-9}}}}
  slower: {{from: slow, at: {{use: step, step: 2}}, set: {{optimizer.lr: 1.0e-12}}}}
"""
    run = keep(FROZEN_AT_THE_EDGE + branches, "stop.steps=4").run
    trunk = run["baseline"]["iterate_projection"]
    assert trunk["frozen_step"].values.tolist() == [-1, -1, 2, 2, 2]
    for name in ("slow", "slower"):
        assert run.arms[name].fork_step == 2
        probe = run[name]["iterate_projection"]
        assert probe["frozen_step"].values.tolist() == [2, 2, 2]
        assert (probe["eigenvalue_then"].values == trunk["eigenvalue_then"].values[2]).all()
        assert (probe["projection"].values[0], trunk["projection"].values[2]) == (0, 0)


def test_after_the_fork_the_trigger_is_asked_of_the_branchs_own_optimizer(keep) -> None:
    """The trunk is far from its edge; the branch, whose own edge is far lower, is beyond it from its first step on."""
    branch = "branches: {fast: {at: {use: step, step: 2}, set: {optimizer.lr: 0.01}}}\n"
    run = keep(FROZEN_AT_THE_EDGE + branch, "optimizer.lr=1.0e-9", "stop.steps=4").run
    assert set(run["baseline"]["iterate_projection"]["frozen_step"].values) == {-1}
    assert run["fast"]["iterate_projection"]["frozen_step"].values.tolist() == [-1, 3, 3]


@pytest.mark.parametrize("step", [2, 3])
def test_a_run_killed_at_the_fork_step_freezes_there_too(tiny, carry_out, data_folder, tmp_path, step: int) -> None:
    class Dies(Silent):
        def update(self, arm: str, at: int, fraction: float, note: str) -> None:
            if (arm, at) == ("slow", step):
                raise SystemExit("killed")

    branch = f"branches: {{slow: {{at: {{{EDGE}}}, set: {{optimizer.lr: 1.0e-9}}}}}}\ncheckpoints: {{every: 100}}\n"
    study = tiny(FROZEN_AT_THE_EDGE + branch, "dataset.pixels=6", "stop.steps=4", "precision=float64")
    whole, folder = carry_out(study), tmp_path / "killed"
    folder.mkdir()
    with pytest.raises(SystemExit):
        execute(prepare(study, data_folder), folder, [], Dies())
    assert load(folder / "checkpoints" / "latest.pt")["state"]["step"] == 2
    resume(prepare(study, data_folder), folder, Silent())
    assert whole["slow"]["iterate_projection"]["frozen_step"].values.tolist() == [2, 2, 2]
    assert_same_channels(whole.arms["slow"], open_run(folder).arms["slow"])


def test_a_branch_of_a_branch_still_forks_at_its_parents_own_edge(keep) -> None:
    """At its fork step the slow arm is beyond the trunk's edge, not its own: that must not start its branch."""
    branches = f"branches: {{slow: {{at: {{{EDGE}}}, set: {{optimizer.lr: 1.0e-9}}}}, "
    branches += f"again: {{from: slow, at: {{{EDGE}}}}}}}\n"
    run = keep(FROZEN_AT_THE_EDGE + branches, "stop.steps=4").run
    assert [run.arms[name].started for name in ("slow", "again")] == [True, False]


def test_an_eigenvector_that_is_not_there_is_refused(tiny, data_folder) -> None:
    study = tiny("  - {use: iterate_projection, k: 60}\n", "model.hidden=[1]", "dataset.pixels=6")
    with pytest.raises(ProbeError, match="iterate_projection cannot take eigenvector 60 of 41 parameters"):
        prepare(study, data_folder)
