"""The losses against their closed forms and against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from studyrun.component import Loss
from studyrun.components.losses.cross_entropy import CrossEntropy
from studyrun.components.losses.squared_error import SquaredError

OUTPUTS = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.tensor([0, 2, 1, 1, 0])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_minus_the_log_probability(smoothing: float) -> None:
    logits = OUTPUTS.numpy()
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    target = np.eye(3)[LABELS] * (1 - smoothing) + smoothing / 3
    found = CrossEntropy(label_smoothing=smoothing).per_example(OUTPUTS, LABELS)
    np.testing.assert_allclose(found.numpy(), -(target * log_p).sum(1), rtol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_squared_error_sums_over_outputs_and_encodes_classes(scale: float) -> None:
    one_hot = np.eye(3)[LABELS]
    expected = scale * ((OUTPUTS.numpy() - one_hot) ** 2).sum(1)
    loss = SquaredError(scale=scale)
    np.testing.assert_allclose(loss.per_example(OUTPUTS, LABELS).numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(loss.per_example(OUTPUTS, torch.from_numpy(one_hot)).numpy(), expected, rtol=1e-12)


def test_losses_refuse_targets_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="cross_entropy needs classes as targets"):
        CrossEntropy().per_example(OUTPUTS, OUTPUTS)
    with pytest.raises(ValueError, match=r"outputs \(5, 3\) and targets \(5, 1\) differ in shape"):
        SquaredError().per_example(OUTPUTS, OUTPUTS[:, :1])


def test_correct_is_the_argmax_and_nothing_for_regression() -> None:
    assert CrossEntropy().correct(OUTPUTS, LABELS).tolist() == (OUTPUTS.numpy().argmax(1) == LABELS.numpy()).tolist()
    assert SquaredError().correct(OUTPUTS, OUTPUTS) is None


def test_a_single_output_is_classified_by_a_loss_that_says_how() -> None:
    outputs, labels = torch.tensor([[0.2], [0.7], [-3.0], [0.4]]), torch.tensor([0, 1, 1, 1])
    assert SquaredError().correct(outputs, labels).tolist() == [True, True, False, False]

    class Weighted(Loss):
        """Logistic loss on one logit, in which a class counts three times: no value of it tells where classes part."""

        def per_example(self, outputs, targets):
            weight = 1 + 2 * targets.to(outputs.dtype)
            given = (outputs[:, 0], targets.to(outputs.dtype))
            return weight * torch.nn.functional.binary_cross_entropy_with_logits(*given, reduction="none")

    assert Weighted().correct(outputs, labels) is None
    assert Weighted().correct(outputs.repeat(1, 2), labels) is not None
