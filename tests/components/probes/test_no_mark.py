"""What the curvature probes must not do: touch training, or depend on where a run was cut in two."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import TINY, assert_same_channels

from studyrun.engine.events import Silent
from studyrun.engine.run import execute, prepare, resume
from studyrun.trace.reader import open_run

PROBES = """\
  - {use: sharpness, tolerance: 0.3, every: 2}
  - {use: gauss_newton, tolerance: 0.3, every: 2, smallest: true}
  - {use: gauss_newton, tolerance: 0.3, at: [1, 2], statistics: eval, as: gauss_newton_eval}
  - {use: preconditioned_sharpness, tolerance: 0.3, every: 1}
  - {use: batch_sharpness, batches: 2, every: 2}
  - {use: curvature_by_layer, tolerance: 0.3, at: [1, 2]}
  - {use: curvature_by_layer, of: gradient_square, every: 1, as: gradient_by_layer}
  - {use: iterate_projection, tolerance: 0.3, freeze: {use: step, step: 1}, reference: first, every: 1}
  - {use: input_output_jacobian, examples: 2, at: [2]}
  - {use: per_example_curvature, tolerance: 0.3, eigenvalues_of: 1, at: [2], statistics: eval}
  - {use: per_example_alignment, tolerance: 0.3, at: [1, 2], statistics: eval}
  - {use: spectral_density, random_vectors: 1, depth: 3, points: 101, at: [2]}
  - {use: hessian_trace, products: 4, at: [2]}
  - {use: adversarial_accuracy, steps: 2, at: [1, 2]}
"""
STUDIES = {
    "mlp, gd": ("optimizer={use: gd, lr: 0.01, momentum: 0.5}", "groups=null"),
    "batch norm, adam": ("optimizer={use: adam, lr: 0.001}", "model=normed", "groups=null"),
    "attention, sgd": (
        "optimizer={use: sgd, lr: 0.01, batch_size: 8}",
        "model={use: vit, patch: 4, layers: 1, heads: 2, width: 4, mlp: 6}",
        "groups=null",
    ),
}
ALWAYS = ("dataset.pixels=8", "dataset.size=10", "dataset.test_size=2", "stop.steps=3", "checkpoints.every=2")


NORMED = '''\
"""A small model with batch normalisation."""

import torch
from torch import nn

from studyrun.plugin import LayerInit, Model


class Normed(Model):
    """A convolution, batch normalisation, a pool and a linear layer."""

    def build(self, example_shape, outputs, init):
        convolution, last = nn.Conv2d(example_shape[0], 3, 3, bias=False), nn.Linear(12, outputs)
        with torch.no_grad():
            for layer in (convolution, last):
                LayerInit().fill(layer, init)
        pool = nn.AdaptiveAvgPool2d(2)
        return nn.Sequential(convolution, nn.BatchNorm2d(3), nn.Tanh(), pool, nn.Flatten(), last).double()
'''


@pytest.fixture(autouse=True)
def _plugin(tmp_path: Path) -> None:
    path = tmp_path / "plugins" / "models" / "normed.py"
    path.parent.mkdir(parents=True)
    path.write_text(NORMED)


class DiesAt(Silent):
    """A process that dies right after a step, with nothing tidied up."""

    def __init__(self, step: int) -> None:
        self.at = step

    def update(self, arm: str, step: int, fraction: float, note: str) -> None:
        if step == self.at:
            raise SystemExit(f"killed at {self.at}")


@pytest.mark.parametrize("overrides", STUDIES.values(), ids=STUDIES.keys())
def test_training_is_the_same_to_the_last_bit_without_them_and_a_killed_run_resumes_with_what_they_carried(
    tiny, data_folder, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    def start(name: str, text: str, progress: Silent) -> dict[str, bytes]:
        (tmp_path / name).mkdir()
        prepared = prepare(tiny("", *ALWAYS, *overrides, text=text), data_folder)
        execute(prepared, tmp_path / name, [], progress)
        return {name: value.numpy().tobytes() for name, value in prepared.problem.model.state_dict().items()}

    assert start("whole", TINY + PROBES, Silent()) == start("bare", TINY.replace("  - loss\n", "  []\n"), Silent())
    with pytest.raises(SystemExit):
        start("killed", TINY + PROBES, DiesAt(3))
    resume(prepare(tiny(PROBES, *ALWAYS, *overrides), data_folder), tmp_path / "killed", Silent())
    whole, killed = (open_run(tmp_path / name).arms["baseline"] for name in ("whole", "killed"))
    assert_same_channels(whole, killed)
