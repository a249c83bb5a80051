"""Batch sharpness against dense Hessians of the batches: of all of them, where there are few."""

from __future__ import annotations

from itertools import combinations
from math import sqrt

import numpy as np
import pytest
import torch

from studyrun.components.probes.batch_sharpness import BatchSharpness

PROBE = "  - {{use: batch_sharpness, every: 2, {}}}\n"
FEW = ("dataset.size=6", "stop.steps=4", "groups=null", "seed.probe=1")  # of 12 seeds, 36 rows: rms 1.1, one at −3.4


def quotients(kept, flat, batches) -> tuple[torch.Tensor, torch.Tensor]:
    """gᵀHg and gᵀg of each batch, from dense Hessians."""
    above, below = [], []
    for batch in batches:
        indices = torch.tensor(batch)
        gradient = kept.gradient(flat, indices)
        above.append(gradient @ kept.hessian(flat, indices) @ gradient)
        below.append(gradient @ gradient)
    return torch.stack(above), torch.stack(below)


@pytest.mark.parametrize("estimator", ["mean_of_ratios", "ratio_of_means"])
def test_the_estimate_lies_within_its_error_of_the_mean_over_every_batch(keep, estimator: str) -> None:
    kept = keep(PROBE.format(f"batch_size: 2, batches: 200, estimator: {estimator}"), *FEW)
    deviations = []
    for _, reading, flat in kept.rows("batch_sharpness"):
        above, below = quotients(kept, flat, combinations(range(6), 2))
        ratios = above / below
        exact, spread = ratios.mean(), ratios
        if estimator == "ratio_of_means":
            exact = above.mean() / below.mean()
            spread = (above - exact * below) / below.mean()
        # 200 draws: a deviation is known to 5 %, and to some times that for heavy tails
        assert reading["standard_error"] == pytest.approx(float(spread.std(correction=0)) / sqrt(200), rel=0.25)
        deviations.append((reading["value"] - float(exact)) / reading["standard_error"])
    assert len(deviations) == 3
    assert np.abs(deviations).max() < 4
    assert np.ptp(deviations) > 0


def test_the_two_estimators_weigh_batches_differently() -> None:
    """Quotients 2 and 4, the second batch having twice the gradient, and so four times its square."""
    rows = torch.tensor([[2.0, 1.0], [4.0, 2.0]], dtype=torch.float64)
    mean, spread = BatchSharpness()._estimate(rows)
    assert (float(mean), spread.tolist()) == (3.0, [2.0, 4.0])
    ratio, spread = BatchSharpness(estimator="ratio_of_means")._estimate(rows)
    assert float(ratio) == 3.6
    assert spread.tolist() == pytest.approx([(2 - 3.6) / 2.5, (16 - 4 * 3.6) / 2.5])


def test_a_batch_of_everything_is_one_and_exact(keep) -> None:
    kept = keep(PROBE.format("batches: 9"), *FEW)
    for _, reading, flat in kept.rows("batch_sharpness"):
        (above,), (below,) = quotients(kept, flat, [range(6)])
        assert reading["value"] == pytest.approx(float(above / below), rel=1e-10)
        assert (reading["standard_error"], reading["drawn"]) == (0, 1)


def test_the_batch_is_the_optimizers_unless_given(keep) -> None:
    kept = keep(
        PROBE.format("batches: 3") + PROBE.format("batches: 3, batch_size: 3, as: given"),
        "optimizer={use: sgd, lr: 0.01, batch_size: 3}",
        "stop.steps=3",
    )
    arm = kept.run["baseline"]
    np.testing.assert_array_equal(arm["batch_sharpness"]["value"].values, arm["given"]["value"].values)
    assert arm["batch_sharpness"]["drawn"].values.tolist() == [3, 3]
    assert arm["batch_sharpness"]["value"].standard_name == arm.threshold_quantity == "batch_sharpness"


def test_batches_differ_from_step_to_step_and_repeat_with_the_seed(keep) -> None:
    arm = keep(PROBE.format("batches: 2, batch_size: 2"), *FEW, "optimizer.lr=1.0e-12").run["baseline"]
    values = arm["batch_sharpness"]["value"].values
    assert len(np.unique(values.round(9))) == len(values), "the parameters stand still: only the batches can differ"
