"""Q_k against differences of the dense Hessian's top eigenvalue along each group's own gradient, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

PROBE = "  - {use: sharpness_coupling, every: 2, tolerance: 1.0e-9}\n"
STUDIES = {
    "squared error": (),
    "cross-entropy": ("loss=cross_entropy",),
    "squared error, chunked": ("chunk_size=7",),
    "cross-entropy, chunked": ("loss=cross_entropy", "chunk_size=7"),
}


class Truth:
    """The training loss of a kept run, written out anew, as a function of a flat vector."""

    def __init__(self, kept) -> None:
        self.kept, self.train = kept, kept.problem.data.train

    def losses(self, flat: Tensor, indices: Tensor | slice = slice(None)) -> Tensor:
        if type(self.kept.problem.loss).__name__ == "SquaredError":
            return self.kept.losses(flat, indices)
        outputs, targets = self.kept.outputs(flat, self.train.inputs[indices]), self.train.targets[indices]
        return -outputs.log_softmax(1)[torch.arange(len(outputs)), targets]

    def gradient(self, flat: Tensor, indices: Tensor) -> Tensor:
        return torch.func.grad(lambda vector: self.losses(vector, indices).mean())(flat)

    def hessian(self, flat: Tensor) -> Tensor:
        return torch.func.hessian(lambda vector: self.losses(vector).mean())(flat)

    def sharpness(self, flat: Tensor) -> float:
        return float(torch.linalg.eigvalsh(self.hessian(flat))[-1])

    def slope(self, flat: Tensor, direction: Tensor, step: float = 1e-4) -> float:
        """d/dε S(θ + ε w) by central differences of fourth order; a gap of 0.02 makes 3e-9 of truncation of it here."""
        unit = direction / direction.norm()
        near, far = (self.sharpness(flat + k * step * unit) - self.sharpness(flat - k * step * unit) for k in (1, 2))
        return float((8 * near - far) / (12 * step) * direction.norm())


@pytest.mark.parametrize("overrides", STUDIES.values(), ids=STUDIES.keys())
def test_coupling_is_the_derivative_of_the_top_eigenvalue_along_each_groups_gradient(keep, overrides) -> None:
    kept = keep(PROBE, "stop.steps=3", *overrides)
    truth, rows = Truth(kept), 0
    members = list(kept.problem.grouping.members.values())
    for _, reading, flat in kept.rows("sharpness_coupling"):
        gradients = [truth.gradient(flat, indices) for indices in members]
        slopes = np.array([truth.slope(flat, gradient) for gradient in gradients])
        # v1 is known to `angle`, and the differences to 1e-8
        size = reading["sharpness_gradient_norm"] * reading["gradient_norm"]
        assert reading["angle"] < 1e-7
        np.testing.assert_allclose(reading["coupling"] / size, slopes / size, rtol=0, atol=1e-7)
        np.testing.assert_allclose(reading["coupling_squared"], reading["coupling"] ** 2, rtol=1e-12)
        values, vectors = torch.linalg.eigh(truth.hessian(flat))
        top = vectors[:, -1]
        np.testing.assert_allclose(
            reading["influence"], [float(g @ top) ** 2 for g in gradients], rtol=1e-6, atol=1e-12
        )
        np.testing.assert_allclose(reading["gradient_norm"], [float(g.norm()) for g in gradients], rtol=1e-10)
        np.testing.assert_allclose(reading["gap"], float(1 - values[-2] / values[-1]), rtol=1e-6)
        along = abs(reading["sharpness_gradient_along"])
        np.testing.assert_allclose(along, abs(truth.slope(flat, top)), rtol=1e-7)
        assert along <= reading["sharpness_gradient_norm"]
        assert reading["converged"]
        rows += 1
    assert rows == 2


def test_the_norm_is_that_of_the_whole_gradient_of_the_sharpness(keep) -> None:
    kept = keep(PROBE.replace("every: 2", "at: [0]"), "stop.steps=1", "model.hidden=[2]", "dataset.pixels=4")
    truth = Truth(kept)
    ((_, reading, flat),) = kept.rows("sharpness_coupling")
    axes = torch.eye(len(flat), dtype=flat.dtype)
    norm = np.linalg.norm([truth.slope(flat, axis) for axis in axes])
    np.testing.assert_allclose(reading["sharpness_gradient_norm"], norm, rtol=1e-6)


def test_a_double_eigenvalue_has_no_gradient(keep) -> None:
    """The squared error of a linear model with two outputs has the Hessian 2 XXᵀ/n ⊗ I, each eigenvalue twice."""
    kept = keep(PROBE.replace("1.0e-9", "1.0e-5"), "stop.steps=1", "model.hidden=[]")
    reading = kept.run["baseline"]["sharpness_coupling"]
    assert (reading["gap"].values < 1e-9).all()
    assert (reading["angle"].values == 1).all()
    for name in ("coupling_squared", "coupling", "sharpness_gradient_norm", "sharpness_gradient_along"):
        assert np.isnan(reading[name].values).all(), name
        assert "not defined" in reading[name].attributes["comment"]
    assert np.isfinite(reading["influence"].values).all()
    assert np.isfinite(reading["gradient_norm"].values).all()


NORMED = '''\
"""A small model with batch normalisation."""

import torch
from torch import nn

from studyrun.plugin import LayerInit, Model


class Normed(Model):
    """A linear layer, batch normalisation, a linear layer."""

    def build(self, example_shape, outputs, init):
        size = example_shape[0] * example_shape[1] * example_shape[2]
        first, last = nn.Linear(size, 4), nn.Linear(4, outputs)
        with torch.no_grad():
            for layer in (first, last):
                LayerInit().fill(layer, init)
        return nn.Sequential(nn.Flatten(), first, nn.BatchNorm1d(4), nn.Tanh(), last).double()
'''


def normed(sizes, flat: Tensor, inputs: Tensor, running) -> Tensor:
    """That model by hand: nested forward mode through PyTorch's own batch norm is wrong in the second derivative."""
    first, bias, gain, shift, last, last_bias = flat.split(sizes)
    hidden = inputs.flatten(1) @ first.view(4, -1).T + bias
    mean, variance = running or (hidden.mean(0), hidden.var(0, correction=0))
    hidden = torch.tanh((hidden - mean) / (variance + 1e-5).sqrt() * gain + shift)
    return hidden @ last.view(-1, 4).T + last_bias


@pytest.mark.parametrize("statistics", ["train", "eval"])
def test_under_batch_norm_everything_is_of_the_loss_of_the_mode_asked_for(keep, tmp_path, statistics) -> None:
    path = tmp_path / "plugins" / "models" / "normed.py"
    path.parent.mkdir(parents=True)
    path.write_text(NORMED)
    probe = PROBE.replace("every: 2", f"at: [2], statistics: {statistics}")
    kept = keep(probe, "stop.steps=2", "model=null", "model={use: normed}")
    norm = kept.problem.model[2]
    running = (norm.running_mean, norm.running_var) if statistics == "eval" else None
    kept.outputs = lambda flat, inputs: normed(kept.sizes(), flat, inputs, running)
    truth = Truth(kept)
    ((_, reading, flat),) = kept.rows("sharpness_coupling")
    gradients = [truth.gradient(flat, indices) for indices in kept.problem.grouping.members.values()]
    size = reading["sharpness_gradient_norm"] * reading["gradient_norm"]
    slopes = np.array([truth.slope(flat, gradient) for gradient in gradients])
    np.testing.assert_allclose(reading["coupling"] / size, slopes / size, rtol=0, atol=1e-6)
    top = torch.linalg.eigh(truth.hessian(flat)).eigenvectors[:, -1]
    np.testing.assert_allclose(reading["influence"], [float(g @ top) ** 2 for g in gradients], rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(reading["gradient_norm"], [float(g.norm()) for g in gradients], rtol=1e-9)
