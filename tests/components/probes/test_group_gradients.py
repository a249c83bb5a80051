"""Norms and cosines against dense gradients; sketches against the cosines they stand for, at a fork and after it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import assert_same_channels

from studyrun.components.probes import group_gradients
from studyrun.components.probes.group_gradients import GroupGradients
from studyrun.engine.events import Silent
from studyrun.engine.run import execute, prepare, resume
from studyrun.trace.reader import open_run

PROBE = "  - {use: group_gradients, every: 2}\n"
FORK = "branches: {exit: {at: {use: step, step: 3}, set: {optimizer.lr: 0.002}}}\n"

OFTEN = ("stop.steps=6", "checkpoints.every=2")


class DiesAt(Silent):
    """A process that dies right after step 5, with nothing tidied up."""

    def update(self, arm: str, step: int, fraction: float, note: str) -> None:
        if step == 5:
            raise SystemExit("killed")


def cosine(a, b):
    return (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))


@pytest.mark.parametrize("overrides", [(), ("chunk_size=7",)], ids=["whole", "chunked"])
def test_norms_and_cosines_are_those_of_the_dense_gradients(keep, overrides) -> None:
    kept, rows = keep(PROBE, "stop.steps=3", *overrides), 0
    members = list(kept.problem.grouping.members.values())
    for _, reading, flat in kept.rows("group_gradients"):
        dense = np.stack([kept.gradient(flat, indices).numpy() for indices in members])
        np.testing.assert_allclose(reading["norm"], np.linalg.norm(dense, axis=1), rtol=1e-10)
        np.testing.assert_allclose(reading["cosine"], _cosines(dense), atol=1e-10)
        whole = kept.gradient(flat).numpy()
        np.testing.assert_allclose(reading["cosine_to_whole"], [cosine(row, whole) for row in dense], atol=1e-10)
        rows += 1
    assert rows == 2


def _cosines(dense):
    return [[cosine(a, b) for b in dense] for a in dense]


@pytest.mark.parametrize("at_once", [2**18, 1000])
def test_sketches_are_products_with_fixed_random_unit_vectors(monkeypatch, at_once) -> None:
    """The sketch of unit vectors gives the matrix of the random ones back, column by column."""
    monkeypatch.setattr(group_gradients, "AT_ONCE", at_once)
    p, m = 37, 64
    products, sketch = GroupGradients(directions=m)._products(torch.eye(p), torch.ones(p), 5)
    vectors = sketch.numpy().T  # (m, p)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-12)
    assert len(np.unique(vectors, axis=0)) == m
    # m · p = 2368 fair signs: the mean lies within 4 standard errors; so do the products of two vectors
    signs = vectors * np.sqrt(p)
    assert abs(signs.mean()) < 4 / np.sqrt(m * p)
    apart = (vectors @ vectors.T)[np.triu_indices(m, 1)]
    assert apart.std() == pytest.approx(1 / np.sqrt(p), rel=0.1)
    np.testing.assert_allclose(products[1:, 1:], np.eye(p))
    again = GroupGradients(directions=m)._products(torch.eye(p), torch.ones(p), 5)[1]
    assert torch.equal(sketch, again)
    assert not torch.equal(sketch, GroupGradients(directions=m)._products(torch.eye(p), torch.ones(p), 6)[1])


@pytest.mark.parametrize("truth", [0.0, 0.6, -0.9, 1.0])
def test_the_cosine_of_two_sketches_estimates_that_of_the_gradients_with_the_error_named(truth) -> None:
    torch.manual_seed(1)
    first, noise = torch.randn(2, 200, 5000)
    noise -= (noise * first).sum(1, keepdim=True) / first.square().sum(1, keepdim=True) * first
    second = truth * first / first.norm(dim=1, keepdim=True)
    second += np.sqrt(1 - truth**2) * noise / noise.norm(dim=1, keepdim=True)
    sketches = [GroupGradients()._products(one, one[0], 11)[1].numpy() for one in (first, second)]
    error = cosine(*sketches) - truth
    expected = (1 - truth**2) / 8
    assert np.sqrt((error**2).mean()) == pytest.approx(expected, rel=0.2, abs=1e-6)


def test_branches_share_the_vectors_and_agree_with_their_parent_at_the_fork_to_the_last_bit(tiny, carry_out) -> None:
    """Of two branches one forks where the probe is due, the other between two measurements."""
    branches = FORK.replace("exit:", "late: {at: {use: step, step: 4}, set: {optimizer.lr: 0.003}}, exit:")
    run = carry_out(tiny(PROBE + branches, "stop.steps=9"))
    baseline = run["baseline"]["group_gradients"]
    for arm in ("late", "exit"):
        probe = run[arm]["group_gradients"]
        assert set(probe["drawn_from"].values) == set(baseline["drawn_from"].values)
    late = run["late"]["group_gradients"]
    here = list(baseline.step).index(4)
    for name in ("norm", "cosine_to_whole", "cosine", "sketch", "drawn_from"):
        assert late[name].values[0].tobytes() == baseline[name].values[here].tobytes(), name
    assert not np.array_equal(late["norm"].values[1], baseline["norm"].values[here + 1])


def test_a_cosine_between_arms_is_that_of_their_dense_gradients(keep) -> None:
    kept = keep("  - {use: group_gradients, every: 2, directions: 4096}\n" + FORK, "stop.steps=8", "optimizer.lr=0.05")
    (members, *_), both = kept.problem.grouping.members.values(), []
    for arm in ("baseline", "exit"):
        *_, (step, reading, flat) = kept.rows("group_gradients", arm)
        assert step == 8
        both.append((reading["sketch"][0], kept.gradient(flat, members).numpy()))
    (sketch, dense), (other_sketch, other_dense) = both
    truth = cosine(dense, other_dense)
    assert truth < 0.99
    assert cosine(sketch, other_sketch) == pytest.approx(truth, abs=4 * (1 - truth**2) / 64)


def test_training_is_the_same_without_it_and_a_killed_run_goes_on_with_the_same_vectors(
    tiny, data_folder, tmp_path
) -> None:
    def start(name: str, probes: str, progress: Silent) -> dict[str, bytes]:
        (tmp_path / name).mkdir()
        prepared = prepare(tiny(probes, *OFTEN), data_folder)
        execute(prepared, tmp_path / name, [], progress)
        return {name: value.numpy().tobytes() for name, value in prepared.problem.model.state_dict().items()}

    probes = PROBE + "  - {use: sharpness_coupling, every: 2, tolerance: 0.1}\n"
    assert start("whole", probes, Silent()) == start("bare", "", Silent())
    with pytest.raises(SystemExit):
        start("killed", probes, DiesAt())
    resume(prepare(tiny(probes, *OFTEN), data_folder), tmp_path / "killed", Silent())
    assert_same_channels(*(open_run(tmp_path / name).arms["baseline"] for name in ("whole", "killed")))


def test_seeds_of_the_study_draw_other_vectors(tiny, carry_out) -> None:
    drawn = [
        carry_out(tiny(PROBE, f"seed={seed}", "stop.steps=1"))["baseline"]["group_gradients"]["drawn_from"].values[0]
        for seed in (0, 1)
    ]
    assert drawn[0] != drawn[1]


def test_a_gradient_that_vanishes_has_no_direction(keep) -> None:
    kept = keep(PROBE, "stop.steps=1", "model.activation=relu", "model.bias=none", "model.init.scale=0.0")
    probe = kept.run["baseline"]["group_gradients"]
    assert (probe["norm"].values == 0).all()
    for name in ("cosine_to_whole", "cosine", "sketch"):
        assert np.isnan(probe[name].values).all()
