"""The thresholds against the optimizers themselves: on a quadratic just below they settle, just above they blow up."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from studyrun.components.optimizers.adam import Adam
from studyrun.components.optimizers.gd import Gd
from studyrun.components.optimizers.sgd import Sgd
from studyrun.components.optimizers.torch_optimizer import TorchOptimizer

MARGIN = 0.01


def grows(optimizer, curvature: float, steps: int = 6000) -> bool:
    """Whether the optimizer leaves the minimum of ½ λ x²."""
    x = nn.Parameter(torch.tensor([1e-3], dtype=torch.float64))
    built = optimizer.build([x])
    for _ in range(steps):
        x.grad = curvature * x.detach()
        built.step()
        if abs(x.item()) > 1e6:
            return True
    return abs(x.item()) > 1e-3


@pytest.mark.parametrize(
    "optimizer",
    [
        Gd(lr=0.1),
        Gd(lr=0.1, momentum=0.9),
        Gd(lr=0.1, momentum=0.9, nesterov=True),
        Sgd(lr=0.05, momentum=0.5),
        Sgd(lr=0.05, momentum=0.5, dampening=0.3),
        Sgd(lr=0.05, dampening=0.3),
        Sgd(lr=0.05, momentum=0.8, weight_decay=2.0),
    ],
    ids=str,
)
def test_the_threshold_is_where_a_quadratic_becomes_unstable(optimizer) -> None:
    edge = optimizer.threshold().value
    assert not grows(optimizer, edge * (1 - MARGIN))
    assert grows(optimizer, edge * (1 + MARGIN))


def test_adam_with_a_frozen_preconditioner_becomes_unstable_at_its_threshold() -> None:
    adam = Adam(lr=0.1, betas=(0.9, 0.999))
    edge = adam.threshold()
    assert edge.quantity == "preconditioned_sharpness"
    assert edge.value == pytest.approx(38 / 0.1)
    for curvature, unstable in ((edge.value * (1 - MARGIN), False), (edge.value * (1 + MARGIN), True)):
        x, mean = 1e-3, 0.0
        for _ in range(6000):
            mean = 0.9 * mean + 0.1 * curvature * x
            x -= 0.1 * mean
            if abs(x) > 1e6:
                break
        assert (abs(x) > 1e-3) == unstable


def test_the_familiar_numbers() -> None:
    assert Gd(lr=0.01).threshold().value == pytest.approx(200)
    assert Gd(lr=0.01, momentum=0.9).threshold().value == pytest.approx(380)
    assert Gd(lr=0.01, momentum=0.9, nesterov=True).threshold().value == pytest.approx(380 / 2.8)
    assert Sgd(lr=0.01).threshold().quantity == "batch_sharpness"
    assert TorchOptimizer(name="RMSprop", lr=0.01).threshold() is None


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Gd(lr=0.1, nesterov=True), "nesterov needs momentum > 0"),
        (
            lambda: Sgd(lr=0.1, momentum=0.9, nesterov=True, dampening=0.1),
            "nesterov needs momentum > 0 and dampening 0",
        ),
        (
            lambda: TorchOptimizer(name="RMSProp", lr=0.1),
            "torch.optim has no dense optimizer 'RMSProp'; it has .*RMSprop",
        ),
        (lambda: TorchOptimizer(name="LBFGS", lr=0.1), "evaluates the loss several times a step"),
        (lambda: TorchOptimizer(name="Adam", lr=0.1, options={"beta": 1}), "Adam has no option beta; it has .*betas"),
        (lambda: Gd(lr=0.0), "greater than 0"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_words(build, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        build()


def test_torch_optimizer_hands_its_options_on() -> None:
    built = TorchOptimizer(name="AdamW", lr=0.3, options={"betas": (0.5, 0.6), "weight_decay": 0.7}).build(
        [nn.Parameter(torch.ones(1))]
    )
    group = built.param_groups[0]
    assert (type(built).__name__, group["lr"], group["betas"], group["weight_decay"]) == ("AdamW", 0.3, (0.5, 0.6), 0.7)


def test_adam_hands_its_options_on() -> None:
    group = Adam(lr=0.3, betas=(0.5, 0.6), eps=1e-3).build([nn.Parameter(torch.ones(1))]).param_groups[0]
    assert (group["lr"], group["betas"], group["eps"]) == (0.3, (0.5, 0.6), 1e-3)


@pytest.mark.parametrize(
    ("optimizer", "examples"),
    [
        (Gd(lr=0.1), None),
        (Sgd(lr=0.1, batch_size=7), 7),
        (Adam(), None),
        (Adam(batch_size=7), 7),
        (TorchOptimizer(name="AdamW", lr=0.1), None),
        (TorchOptimizer(name="AdamW", lr=0.1, batch_size=7), 7),
    ],
    ids=str,
)
def test_a_batch_size_is_the_examples_of_a_step_and_none_is_all_of_them(optimizer, examples: int | None) -> None:
    assert optimizer.examples_per_step == examples
