"""Every model that has a component trains through the engine, in both precisions, measured in both statistics."""

from __future__ import annotations

import numpy as np
import pytest

MODELS = {
    "cnn": "{use: cnn, channels: [[4], [6]], kernel: 2, hidden: [8], init: {scale: 0.7}}",
    "resnet18, batch": "{use: resnet18, width: 2}",
    "resnet18, group": "{use: resnet18, width: 4, norm: group}",
    "resnet18, none": "{use: resnet18, width: 2, norm: none, zero_residual: true}",
    "resnet_cifar, batch": "{use: resnet_cifar, depth: 8, width: 4, norm: batch}",
    "resnet_cifar, none": "{use: resnet_cifar, depth: 8, width: 4}",
    "vit": "{use: vit, patch: 4, layers: 1, heads: 2, width: 8, mlp: 12}",
}
PROBES = """\
  - {use: sharpness, at: [4], tolerance: 0.05, statistics: eval}
  - group_data
"""


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_the_loss_falls_and_the_sharpness_is_found(tiny, carry_out, model: str, precision: str) -> None:
    study = tiny(
        PROBES,
        f"model={model}",
        f"precision={precision}",
        "dataset.pixels=16",
        "chunk_size=20",
        "optimizer={use: adam, lr: 0.005}",
        "stop.steps=8",
    )
    arm = carry_out(study)["baseline"]
    assert arm.state == "complete"
    losses = arm["loss"]["train"].values
    assert losses[-1] < 0.95 * losses[0], losses
    assert np.isfinite(arm["loss"]["test"].values).all()
    assert arm["sharpness"]["eigenvalue"].values[0, 0] > 0
    assert arm["sharpness"]["converged"].values.all()
