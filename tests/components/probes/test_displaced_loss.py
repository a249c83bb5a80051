"""Loss on displaced examples against hand-made displacements, closed forms and prototypes' own input-outliers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import TINY

from studyrun.components.groups.prototypes import Prototypes
from studyrun.components.probes.displaced_loss import DisplacedLoss, _displaced
from studyrun.engine.random_state import seeded
from studyrun.errors import InvalidStudyError, ProbeError

GRID = "displacements: [0, 1, 3, 10]"
ALWAYS = ("stop.steps=2",)


def by_hand(kept, flat, split, a):
    """Loss and correctness of every example of a split at displacement a, one side at a time."""
    c0, c1 = kept.problem.grouping.centroids
    data = kept.problem.split(split)
    moved = torch.stack([x + a * (c1 - c0) if y else x - a * (c1 - c0) for x, y in zip(*_parts(data), strict=True)])
    outputs = kept.outputs(flat, moved)
    losses = ((outputs - torch.eye(2, dtype=outputs.dtype)[data.targets]) ** 2).sum(1)
    return losses.numpy(), (outputs.argmax(1) == data.targets).double().numpy()


def _parts(data):
    return data.inputs, data.targets


def rows(kept, label="displaced_loss"):
    return kept.rows(label)


@pytest.mark.parametrize("more", [(), ("chunk_size=5",)])
def test_loss_and_accuracy_are_those_of_examples_moved_by_hand(keep, more) -> None:
    kept = keep(f"  - {{use: displaced_loss, {GRID}, every: 2}}\n", *ALWAYS, *more)
    assert kept.run["baseline"]["displaced_loss"]["loss"].labels == {"displacement": (0, 1, 3, 10)}
    seen = 0
    for _, reading, flat in rows(kept):
        for place, a in enumerate((0, 1, 3, 10)):
            losses, right = by_hand(kept, flat, "test", a)
            assert reading["loss"][place] == pytest.approx(losses.mean(), rel=1e-12)
            assert reading["accuracy"][place] == pytest.approx(right.mean(), rel=1e-12)
        seen += 1
    assert seen == 2


def test_undisplaced_it_is_the_test_loss(keep) -> None:
    kept = keep("  - {use: displaced_loss, every: 1}\n", *ALWAYS)
    probe, loss = kept.run["baseline"]["displaced_loss"], kept.run["baseline"]["loss"]
    assert probe["loss"].labels == {"displacement": tuple(range(13))}
    np.testing.assert_allclose(probe["loss"].values[:, 0], loss["test"].values, rtol=1e-12)
    np.testing.assert_allclose(probe["accuracy"].values[:, 0], loss["test_accuracy"].values, rtol=1e-12)


def test_the_loss_of_a_linear_model_is_a_parabola_in_the_displacement(keep) -> None:
    """f(x ± a·v) = f(x) ± a·Wv, so that third differences of the mean squared error in a vanish, and the second is
    2‖Wv‖² with the model's own matrix.
    """
    kept = keep("  - {use: displaced_loss, every: 1}\n", *ALWAYS, "model.hidden=[]")
    for _, reading, flat in rows(kept):
        c0, c1 = kept.problem.grouping.centroids
        v = (c1 - c0)[None]
        along = (kept.outputs(flat, v) - kept.outputs(flat, torch.zeros_like(v))).square().sum()
        second = np.diff(reading["loss"], 2)
        np.testing.assert_allclose(second, 2 * float(along), rtol=1e-9)


def test_it_moves_examples_bit_for_bit_as_prototypes_does(tiny, data_folder) -> None:
    study = tiny("", "dataset.size=80", "precision=float32")
    data = study.dataset.load(data_folder, seeded(study.seed.subset, "dataset"))
    grouping = Prototypes(per_class=3, displacement=3.0).form(data, torch.Generator().manual_seed(0))
    outliers = grouping.data.train.take(grouping.members["input_outlier"])
    everyone = _displaced(data.train, grouping.centroids, 3.0)
    for moved, label in zip(outliers.inputs, outliers.targets, strict=True):
        equal = [bool(torch.equal(moved, one)) for one in everyone.inputs]
        assert sum(equal) == 1
        assert everyone.targets[equal.index(True)] == label


def test_of_each_class_the_nearest_to_their_own_centroid_are_taken(keep) -> None:
    kept = keep(f"  - {{use: displaced_loss, {GRID}, per_class: 3, every: 2}}\n", *ALWAYS)
    test, centroids = kept.problem.data.test, kept.problem.grouping.centroids
    near = []
    for label in (0, 1):
        own = np.flatnonzero(test.targets.numpy() == label)
        far = [np.linalg.norm((test.inputs[i] - centroids[label]).numpy()) for i in own]
        near += list(own[np.argsort(far)[:3]])
    for _, reading, flat in rows(kept):
        losses, right = by_hand(kept, flat, "test", 3)
        assert reading["loss"][2] == pytest.approx(losses[near].mean(), rel=1e-12)
        assert reading["accuracy"][2] == pytest.approx(right[near].mean(), rel=1e-12)


def test_of_the_training_examples_those_outside_the_groups_are_moved(keep) -> None:
    kept = keep(f"  - {{use: displaced_loss, {GRID}, split: train, every: 2}}\n", *ALWAYS)
    members = torch.cat(list(kept.problem.grouping.members.values())).numpy()
    outside = np.setdiff1d(np.arange(len(kept.problem.data.train)), members)
    assert len(outside) == 48 - 16
    for _, reading, flat in rows(kept):
        losses, _ = by_hand(kept, flat, "train", 10)
        assert reading["loss"][3] == pytest.approx(losses[outside].mean(), rel=1e-12)


def test_batch_norm_is_taken_in_evaluation_mode(keep, tmp_path) -> None:
    """The truth is the module itself as the run left it, switched to evaluation mode."""
    path = tmp_path / "plugins" / "models" / "normed.py"
    path.parent.mkdir(parents=True)
    path.write_text(NORMED)
    kept = keep("  - {use: displaced_loss, every: 1}\n", *ALWAYS, "model=normed", "chunk_size=5")
    model, (c0, c1) = kept.problem.model, kept.problem.grouping.centroids
    model.eval()
    test = kept.problem.data.test
    with torch.no_grad():
        outputs = model(test.inputs + 3 * (2 * test.targets - 1)[:, None, None, None] * (c1 - c0))
    losses = ((outputs - torch.eye(2, dtype=outputs.dtype)[test.targets]) ** 2).sum(1)
    found = kept.run["baseline"]["displaced_loss"]["loss"].select(displacement=3)
    assert found[-1] == pytest.approx(float(losses.mean()), rel=1e-12)


NORMED = '''\
"""A small model with batch normalisation."""

import torch
from torch import nn

from studyrun.plugin import LayerInit, Model


class Normed(Model):
    """Two linear layers with batch normalisation between them."""

    def build(self, example_shape, outputs, init):
        first, last = nn.Linear(example_shape[-1] ** 2 * example_shape[0], 4), nn.Linear(4, outputs)
        with torch.no_grad():
            for layer in (first, last):
                LayerInit().fill(layer, init)
        return nn.Sequential(nn.Flatten(), first, nn.BatchNorm1d(4), nn.Tanh(), last).double()
'''


def test_grids_that_are_not_whole_have_texts_as_labels(keep) -> None:
    kept = keep("  - {use: displaced_loss, displacements: [0, 0.5, -1], every: 2}\n", *ALWAYS)
    loss = kept.run["baseline"]["displaced_loss"]["loss"]
    assert loss.labels == {"displacement": ("0.0", "0.5", "-1.0")}
    losses, _ = by_hand(kept, kept.flat(2), "test", -1)
    assert loss.select(displacement="-1.0")[-1] == pytest.approx(losses.mean(), rel=1e-12)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("groups=classes",), "this study's groups have none; write `groups: {use: prototypes}`"),
        (("groups=null",), "this study's groups have none"),
        (
            ("groups=classes", "dataset.classes=[one, two, five]"),
            "needs exactly two classes, and this data set has 3; choose two with the data set's option `classes`",
        ),
    ],
)
def test_a_study_without_two_centroids_is_refused(tiny, carry_out, overrides, words) -> None:
    with pytest.raises(ProbeError) as caught:
        carry_out(tiny("  - displaced_loss\n", *overrides))
    assert words in str(caught.value)


def test_too_few_examples_of_a_class_are_refused(tiny, carry_out) -> None:
    with pytest.raises(ProbeError, match=r"has \d+ test examples to move, and 20 are asked for; lower per_class, take"):
        carry_out(tiny("  - {use: displaced_loss, per_class: 20}\n"))


@pytest.mark.parametrize("wrong", ["displacements: []", "displacements: [1, 1]", "per_class: 0", "split: both"])
def test_what_makes_no_grid_is_refused(tiny, wrong) -> None:
    with pytest.raises(InvalidStudyError):
        tiny(f"  - {{use: displaced_loss, {wrong}}}\n")


def test_it_leaves_no_mark(tiny, data_folder, tmp_path) -> None:
    from studyrun.engine.events import Silent
    from studyrun.engine.run import execute, prepare

    def end(name, text):
        (tmp_path / name).mkdir()
        prepared = prepare(tiny("", text=text), data_folder)
        execute(prepared, tmp_path / name, [], Silent())
        return [value.numpy().tobytes() for value in prepared.problem.model.state_dict().values()]

    probes = "  - {use: displaced_loss, every: 1}\n  - {use: centroid_distance, every: 1}\n"
    assert end("with", TINY + probes) == end("without", TINY)
    assert DisplacedLoss().start(None) is None
