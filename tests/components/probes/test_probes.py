"""The built-in probes against dense and hand-written truth, at the parameters of a real run's checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ALL_PROBES
from torch import Tensor
from torch.func import functional_call, grad, hessian

from studyrun.engine import checkpoint
from studyrun.engine.events import Silent
from studyrun.engine.problem import Problem
from studyrun.engine.run import execute, prepare
from studyrun.trace.reader import Run, open_run

SMALL = ("precision=float64", "dataset.pixels=6", "model.hidden=[4]", "checkpoints.keep=6")
STUDIES = {
    "mlp, squared error": (),
    "mlp, cross-entropy": ("loss=cross_entropy",),
    "mlp, chunked": ("chunk_size=7",),
    "mlp, relu, three classes": ("model.activation=relu", "dataset.classes=[one, two, five]", "groups=classes"),
}


class Truth:
    """A small study run with every step's parameters kept, and its training loss as a function of a flat vector."""

    def __init__(self, study, folder: Path, data_folder: Path) -> None:
        prepared = prepare(study, data_folder)
        execute(prepared, folder, [], Silent())
        run = open_run(folder)
        assert isinstance(run, Run)
        self.run, self.folder, self.problem = run, folder, prepared.problem

    def probe(self, label: str):
        return self.run["baseline"][label]

    def at_checkpoints(self, label: str) -> Iterator[tuple[int, Tensor]]:
        """Rows of a probe at kept steps, with the flat parameters there."""
        for row, step in enumerate(self.probe(label).step):
            path = self.folder / "checkpoints" / f"baseline-step-{step}.pt"
            if path.exists():
                parts = checkpoint.load(path)["state"]["parameters"].values()
                yield row, torch.cat([part.flatten() for part in parts])

    def losses(self, flat: Tensor, split: str = "train") -> Tensor:
        return per_example(self.problem, flat, split)


def per_example(problem: Problem, flat: Tensor, split: str) -> Tensor:
    """The loss of each example, written out anew."""
    data = problem.split(split)
    shapes = problem.parameter_shapes
    parts = flat.split([int(np.prod(shape)) for shape in shapes.values()])
    state = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
    outputs = functional_call(problem.model, state, (data.inputs,))
    if type(problem.loss).__name__ == "CrossEntropy":
        return -outputs.log_softmax(1)[torch.arange(len(outputs)), data.targets]
    return ((outputs - torch.eye(outputs.shape[1], dtype=outputs.dtype)[data.targets]) ** 2).sum(1)


@pytest.fixture(params=STUDIES.values(), ids=STUDIES.keys())
def truth(request, tiny, tmp_path: Path, data_folder: Path) -> Truth:
    probes = ALL_PROBES.replace("k: 2", "k: 5, tolerance: 1.0e-7").replace("at: [0, 3, 7]", "every: 6")
    folder = tmp_path / "run"
    folder.mkdir()
    return Truth(tiny(probes, *SMALL, *request.param), folder, data_folder)


def test_sharpness_is_the_dense_hessians_within_its_residual(truth: Truth) -> None:
    probe, checked = truth.probe("sharpness"), 0
    for row, flat in truth.at_checkpoints("sharpness"):
        exact = torch.linalg.eigvalsh(hessian(lambda v: truth.losses(v).mean())(flat)).flip(0)[:5].numpy()
        error = np.abs(probe["eigenvalue"].values[row] - exact)
        assert (error <= probe["residual"].values[row] + 1e-12).all(), (error, probe["residual"].values[row])
        assert probe["converged"].values[row].all()
        assert probe["matvecs"].values[row] > 0
        checked += 1
    assert checked == 3


def test_alignment_is_that_of_dense_eigenvectors_and_plain_gradients(truth: Truth) -> None:
    probe = truth.probe("alignment")
    for row, flat in truth.at_checkpoints("alignment"):
        top = torch.linalg.eigh(hessian(lambda v: truth.losses(v).mean())(flat)).eigenvectors[:, -1]
        for place, members in enumerate(truth.problem.grouping.members.values()):
            gradient = grad(lambda v, own=members: truth.losses(v)[own].mean())(flat)
            along = float(gradient @ top) ** 2
            # v_1 is known to residual / gap in angle, about 1e-5 here
            np.testing.assert_allclose(probe["influence"].values[row, place], along, rtol=1e-3, atol=1e-9)
            np.testing.assert_allclose(probe["gradient_norm"].values[row, place], gradient.norm(), rtol=1e-10)
            np.testing.assert_allclose(
                probe["cos2"].values[row, place], along / gradient.norm() ** 2, rtol=1e-3, atol=1e-9
            )


def test_losses_and_accuracies_are_plain_means(truth: Truth) -> None:
    probe = truth.probe("loss")
    for row, flat in truth.at_checkpoints("loss"):
        losses = truth.losses(flat)
        np.testing.assert_allclose(probe["train"].values[row], losses.mean(), rtol=1e-12)
        np.testing.assert_allclose(probe["test"].values[row], truth.losses(flat, "test").mean(), rtol=1e-12)
        groups = [losses[members].mean() for members in truth.problem.grouping.members.values()]
        np.testing.assert_allclose(probe["by_group"].values[row], groups, rtol=1e-12)
    assert set(np.unique(probe["test_accuracy"].values * len(truth.problem.data.test)) % 1) == {0.0}


def test_accuracy_counts_the_examples_the_model_gets_right(truth: Truth) -> None:
    for row, flat in truth.at_checkpoints("loss"):
        data, shapes = truth.problem.data.train, truth.problem.parameter_shapes
        parts = flat.split([int(np.prod(shape)) for shape in shapes.values()])
        state = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        right = functional_call(truth.problem.model, state, (data.inputs,)).argmax(1) == data.targets
        assert truth.probe("loss")["train_accuracy"].values[row] == pytest.approx(right.double().mean().item())


def test_per_example_losses_are_each_examples_own(truth: Truth) -> None:
    for row, flat in truth.at_checkpoints("per_example_loss"):
        recorded = truth.probe("per_example_loss")["loss"].values[row]
        np.testing.assert_allclose(recorded, truth.losses(flat).numpy(), rtol=1e-6)  # stored in single precision


def test_gradient_norms_are_those_of_the_flat_gradient(truth: Truth) -> None:
    sizes = [int(np.prod(shape)) for shape in truth.problem.parameter_shapes.values()]
    for row, flat in truth.at_checkpoints("gradient_norm"):
        gradient = grad(lambda v: truth.losses(v).mean())(flat)
        np.testing.assert_allclose(truth.probe("gradient_norm")["norm"].values[row], gradient.norm(), rtol=1e-10)
        parts = [part.norm() for part in gradient.split(sizes)]
        np.testing.assert_allclose(truth.probe("gradient_norm")["by_layer"].values[row], parts, rtol=1e-9)


def test_parameter_norms_and_distances(truth: Truth) -> None:
    probe = truth.probe("parameters")
    first = next(flat for _, flat in truth.at_checkpoints("parameters"))
    sizes = [int(np.prod(shape)) for shape in truth.problem.parameter_shapes.values()]
    for row, flat in truth.at_checkpoints("parameters"):
        np.testing.assert_allclose(probe["norm"].values[row], flat.norm(), rtol=1e-12)
        np.testing.assert_allclose(probe["distance"].values[row], (flat - first).norm(), rtol=1e-12)
        parts = [part.norm() for part in (flat - first).split(sizes)]
        np.testing.assert_allclose(probe["distance_by_layer"].values[row], parts, rtol=1e-12)


def test_group_data_holds_the_examples_as_they_were_drawn(truth: Truth) -> None:
    probe, data = truth.probe("group_data"), truth.problem.data
    members = list(truth.problem.grouping.members.values())
    image = probe["image"].values[0]
    expected = data.train.inputs[members[0][0]] * data.deviation[0] + data.mean[0]
    np.testing.assert_allclose(image[0, 0], expected, atol=1e-6)
    centroids = truth.problem.grouping.centroids
    if centroids is not None:
        own = data.train.inputs[members[0]] - centroids[data.train.targets[members[0]]]
        distances = probe["distance"].values[0, 0, : len(members[0])]
        np.testing.assert_allclose(distances, np.linalg.norm(own.flatten(1).numpy(), axis=1), rtol=1e-12)


SMALL_STUDIES = {
    "two_layer_linear": "{use: opposing_signals, signal: 3, opposing: 4, size: 64, outliers: 16, alpha: 20.0}",
    "chebyshev": "{use: chebyshev, points: 20, degree: 4}",
}


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", SMALL_STUDIES)
def test_sharpness_of_the_small_models_is_the_dense_hessians(
    tiny, tmp_path: Path, data_folder: Path, name: str, k: int
) -> None:
    model = "{use: two_layer_linear, signal: 3}"
    if name == "chebyshev":
        model = "{use: mlp, hidden: [20], activation: tanh, bias: first, init: {scheme: xavier_normal, gain: 1.9}}"
    text = f"""\
title: small
precision: float64
model: {model}
dataset: {SMALL_STUDIES[name]}
loss: {{use: squared_error, scale: 0.5}}
optimizer: {{use: gd, lr: 0.01}}
stop: {{steps: 6}}
probes: [{{use: sharpness, k: {k}, every: 3, tolerance: 1.0e-8}}]
checkpoints: {{keep: 3}}
"""
    truth = Truth(tiny("", text=text), tmp_path, data_folder)
    data = truth.problem.data.train

    def loss(flat: Tensor) -> Tensor:
        shapes = truth.problem.parameter_shapes
        parts = flat.split([int(np.prod(shape)) for shape in shapes.values()])
        state = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        return 0.5 * ((functional_call(truth.problem.model, state, (data.inputs,)) - data.targets) ** 2).mean()

    for row, flat in truth.at_checkpoints("sharpness"):
        exact = torch.linalg.eigvalsh(hessian(loss)(flat)).flip(0)[:k].numpy()
        found, residual = (truth.probe("sharpness")[name].values[row] for name in ("eigenvalue", "residual"))
        assert (np.abs(found - exact) <= residual + 1e-11 * abs(exact[0])).all()
        assert truth.probe("sharpness")["converged"].values[row].all()


def test_one_solve_serves_every_probe_at_a_step_at_the_tightest_tolerance(tiny, carry_out) -> None:
    probes = """\
  - {use: sharpness, k: 1, every: 1, tolerance: 1.0e-2, as: loose}
  - {use: sharpness, k: 3, every: 2, tolerance: 1.0e-6, as: tight}
  - {use: group_alignment, every: 1}
"""
    run = carry_out(tiny(probes, "precision=float64"))
    loose, tight = run["baseline"]["loose"], run["baseline"]["tight"]
    even = loose.step % 2 == 0
    np.testing.assert_array_equal(loose["eigenvalue"].values[even, 0], tight["eigenvalue"].values[:, 0])
    np.testing.assert_array_equal(loose["matvecs"].values[even], tight["matvecs"].values)
    assert (loose["residual"].values[even, 0] <= 1e-6 * loose["eigenvalue"].values[even, 0]).all()
