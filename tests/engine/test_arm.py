"""What a run means: forks are exact, stops are where they should be, divergence ends one arm only."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import ALL_PROBES, assert_same_channels
from torch import nn

from studyrun.engine.events import Silent
from studyrun.engine.run import execute, prepare

OPTIMIZERS = {
    "gd": "{use: gd, lr: 0.01}",
    "heavy ball": "{use: gd, lr: 0.01, momentum: 0.9}",
    "Nesterov": "{use: gd, lr: 0.01, momentum: 0.9, nesterov: true}",
    "sgd": "{use: sgd, lr: 0.01, batch_size: 7, momentum: 0.9, dampening: 0.1, weight_decay: 0.01}",
    "Adam": "{use: adam, lr: 0.01}",
    "RMSprop": "{use: torch_optimizer, name: RMSprop, lr: 0.001, options: {centered: true}}",
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_branch_with_empty_set_is_the_trunk_bit_for_bit(tiny, carry_out, optimizer: str) -> None:
    branch = (
        "branches: {same: {at: {use: step, step: 5}}, cut: {at: {use: step, step: 5}, set: {optimizer.lr: 0.0005}}}"
    )
    run = carry_out(tiny(ALL_PROBES + branch, f"optimizer={optimizer}"))
    trunk, same, cut = run.arms["baseline"], run.arms["same"], run.arms["cut"]
    assert (same.fork_step, same.probes["loss"].step[0]) == (5, 5)
    assert_same_channels(trunk, same, from_step=5)
    assert cut.probes["loss"]["train"].values[-1] != trunk.probes["loss"]["train"].values[-1]


def test_branch_of_a_branch_starts_where_its_parent_stands(tiny, carry_out) -> None:
    branches = """\
branches:
  out: {at: {use: step, step: 4}, set: {optimizer.lr: 0.005}}
  back: {from: out, at: {use: step, step: 8}, set: {optimizer.lr: 0.01}}
  stay: {from: out, at: {use: step, step: 8}}
"""
    run = carry_out(tiny(branches))
    assert run.arms["back"].parent == "out"
    assert run.arms["back"].fork_time == pytest.approx(4 * 0.01 + 4 * 0.005)
    assert run.arms["back"].probes["loss"].time[1] == pytest.approx(4 * 0.01 + 4 * 0.005 + 0.01)
    assert_same_channels(run.arms["out"], run.arms["stay"], from_step=8)


def test_gradient_descent_is_a_hand_written_loop(tiny, carry_out, data_folder) -> None:
    study = tiny("", "precision=float64", "optimizer={use: gd, lr: 0.02, momentum: 0.5}")
    start = prepare(study, data_folder).problem
    inputs, targets = start.data.train.inputs, start.data.train.targets
    model, velocity, losses = start.model, None, []
    for _ in range(13):
        error = model(inputs) - nn.functional.one_hot(targets, 2)
        loss = (error**2).sum() / len(inputs)
        losses.append(loss.item())
        gradient = torch.autograd.grad(loss, list(model.parameters()))
        velocity = gradient if velocity is None else [0.5 * v + g for v, g in zip(velocity, gradient, strict=True)]
        with torch.no_grad():
            for parameter, v in zip(model.parameters(), velocity, strict=True):
                parameter -= 0.02 * v
    recorded = carry_out(study).arms["baseline"].probes["loss"]["train"].values
    np.testing.assert_allclose(recorded, losses, rtol=1e-12)  # the same sums in another order


def test_effective_time_is_the_sum_of_learning_rates(tiny, carry_out) -> None:
    run = carry_out(
        tiny(
            "branches: {exit: {at: {use: step, step: 4}, set: {optimizer.lr: 0.002}}}", "stop={steps: null, time: 0.1}"
        )
    )
    trunk, branch = run.arms["baseline"], run.arms["exit"]
    assert trunk.probes["loss"].step[-1] == 10, "0.1 is ten steps of 0.01, however the sum rounds"
    assert branch.probes["loss"].step[-1] == 4 + 30
    np.testing.assert_allclose(branch.probes["loss"].time, 0.04 + 0.002 * np.arange(31), rtol=1e-12)
    assert "effective time 0.1 was reached" in trunk.end_reason


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        ("{steps: 7}", "step 7 was reached"),
        ("{steps: 500, loss_below: 0.5}", "training loss 0.4"),
        ("{steps: 50, when: {use: threshold, probe: loss, channel: train, below: 0.6}}", "loss.train = 0.5"),
    ],
)
def test_an_arm_ends_at_the_first_of_its_limits(tiny, carry_out, stop: str, reason: str) -> None:
    arm = carry_out(tiny("", f"stop={stop}")).arms["baseline"]
    assert arm.state == "complete"
    assert reason in arm.end_reason


def test_divergence_ends_its_arm_alone(tiny, carry_out) -> None:
    run = carry_out(
        tiny("branches: {wild: {at: {use: step, step: 3}, set: {optimizer.lr: 1.0e+6}}}", "stop={steps: 300}")
    )
    assert run.arms["wild"].state == "diverged"
    assert "the training loss is" in run.arms["wild"].end_reason
    assert run.arms["baseline"].state == "complete"
    assert np.isfinite(run.arms["wild"].probes["loss"]["train"].values).all()
    assert run.status["state"] == "diverged"


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_divergence_ends_its_arm_alone_whatever_is_measured_on_the_way(tiny, carry_out, precision: str) -> None:
    probes = "  - {use: sharpness, every: 1}\n  - {use: group_alignment, every: 1}\n  - gradient_norm\n"
    probes += "  - per_example_loss\n  - parameters\n"
    branch = "branches: {wild: {at: {use: step, step: 3}, set: {optimizer.lr: 30}}}"
    relu = ("model.activation=relu", "stop={steps: 60}", f"precision={precision}")
    run = carry_out(tiny(probes + branch, *relu))
    assert [run.arms[name].state for name in ("baseline", "wild")] == ["complete", "diverged"]
    assert run["wild"]["loss"].step[-1] > 4


@pytest.mark.parametrize("name", ["NAdam", "ASGD", "Adamax", "RAdam"])
def test_a_branch_of_any_optimizer_of_torch_is_the_trunk_in_double_precision_too(tiny, carry_out, name: str) -> None:
    optimizer = f"optimizer={{use: torch_optimizer, name: {name}, lr: 0.01}}"
    run = carry_out(tiny("branches: {same: {at: {use: step, step: 5}}}", "precision=float64", optimizer))
    assert_same_channels(run.arms["baseline"], run.arms["same"], from_step=5)


def test_a_branch_that_forks_where_eigenvectors_are_measured_starts_from_the_same_vectors(tiny, carry_out) -> None:
    probes = "  - {use: sharpness, k: 2, every: 2}\nbranches: {same: {at: {use: step, step: 4}}}"
    run = carry_out(tiny(probes))
    assert_same_channels(run.arms["baseline"], run.arms["same"], from_step=4)


def test_under_mini_batches_the_full_loss_is_looked_at_once_an_epoch(tiny, carry_out) -> None:
    sgd, stop = "optimizer={use: sgd, lr: 0.002, batch_size: 7}", "stop={steps: 200, loss_below: 0.6}"
    arm = carry_out(tiny("", sgd, stop))["baseline"]
    below = np.flatnonzero(arm["loss"]["train"].values < 0.6)
    assert below[0] % 7 != 0, "the loss falls below within an epoch, where nobody looks"
    assert arm["loss"].step[-1] == next(step for step in below if step % 7 == 0)
    assert f"training loss {arm['loss']['train'].values[-1]:.6g} < 0.6" in arm.end_reason


def test_a_branch_under_another_optimizer_starts_afresh_and_says_so(tiny, data_folder, tmp_path) -> None:
    said = []

    class Loud(Silent):
        def say(self, text: str, level: str = "info") -> None:
            said.append((level, text))

    adam = "branches: {other: {at: {use: step, step: 4}, set: {optimizer: {use: adam, lr: 0.001}}}}"
    execute(prepare(tiny(adam, "optimizer.momentum=0.9"), data_folder), tmp_path, [], Loud())
    words = "arm 'other' starts with a fresh optimizer state: its optimizer is of another class"
    assert ("warning", words) in said


def test_a_trunk_that_diverges_still_lets_its_branches_run(tiny, carry_out) -> None:
    branch = "branches: {calm: {at: {use: step, step: 0}, set: {optimizer.lr: 0.0005}}}"
    run = carry_out(tiny(branch, "optimizer.lr=1e6", "stop={steps: 30}"))
    assert [run.arms[name].state for name in ("baseline", "calm")] == ["diverged", "complete"]


def test_a_branch_whose_trigger_never_fires_is_reported(tiny, carry_out) -> None:
    branches = """\
branches:
  never: {at: {use: threshold, probe: loss, channel: train, above: 1000.0}}
  child: {from: never, at: {use: step, step: 1}}
"""
    run = carry_out(tiny(branches))
    assert run.arms["never"].state == run.arms["child"].state == "not started"
    assert "threshold did not fire: last loss.train = " in run.arms["never"].end_reason
    assert "its parent 'never' was not started" in run.arms["child"].end_reason


def test_mini_batches_visit_every_example_once_an_epoch(tiny, data_folder) -> None:
    from studyrun.engine.trainer import Trainer

    trainer = Trainer(prepare(tiny("", "optimizer={use: sgd, lr: 0.1, batch_size: 7}"), data_folder).problem)
    epochs = []
    for epoch in range(2):
        seen = []
        for step in range(trainer.steps_per_epoch):
            trainer.step = epoch * trainer.steps_per_epoch + step
            seen.append(trainer._batch())
        epochs.append(torch.cat(seen))
        assert sorted(epochs[-1].tolist()) == list(range(48))
    assert not torch.equal(*epochs)


def test_the_resolved_study_runs_again_to_the_same_bits(tiny, carry_out) -> None:
    from studyrun.study import load_study

    branch = "branches: {exit: {at: {use: step, step: 5}, set: {optimizer.lr: 0.005}}}\n"
    profile = "profiles: {quick: {stop: {steps: 9}}}"
    first = carry_out(tiny(ALL_PROBES + branch + profile, "seed.init=3"))
    second = carry_out(load_study(first.path / "study.yaml"))
    assert (second.path / "study.yaml").read_text() == (first.path / "study.yaml").read_text()
    for name, arm in first.arms.items():
        assert_same_channels(arm, second.arms[name])


def test_chunks_change_nothing_but_rounding(tiny, carry_out) -> None:
    probe = "  - {use: sharpness, k: 2, every: 4, tolerance: 1.0e-8}"
    whole, parts = (carry_out(tiny(probe, "precision=float64", f"chunk_size={size}")) for size in (1000, 11))
    for channel in ("train", "test", "by_group"):
        a, b = (run["baseline"]["loss"][channel].values for run in (whole, parts))
        np.testing.assert_allclose(a, b, rtol=1e-11)
    a, b = (run["baseline"]["sharpness"]["eigenvalue"].values for run in (whole, parts))
    np.testing.assert_allclose(a, b, rtol=1e-7)  # each within 1e-8 of the truth


@pytest.mark.parametrize("purpose", ["init", "order", "subset"])
def test_each_seed_names_its_own_generator(tiny, data_folder, purpose: str) -> None:
    from studyrun.engine.trainer import Trainer

    def facts(*overrides: str) -> dict[str, bytes]:
        problem = prepare(tiny("", "optimizer={use: sgd, lr: 0.1, batch_size: 8}", *overrides), data_folder).problem
        return {
            "init": next(problem.model.parameters()).detach().numpy().tobytes(),
            "order": Trainer(problem)._batch().numpy().tobytes(),
            "subset": problem.data.train.inputs.numpy().tobytes(),
        }

    before, after = facts(), facts(f"seed.{purpose}=1")
    assert [name for name in before if before[name] != after[name]] == [purpose]
