"""Triggers that look at one number: each fires at the first step that its words promise, not one earlier or later."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from studyrun.components.triggers.loss_below import LossBelow
from studyrun.components.triggers.step import Step
from studyrun.components.triggers.threshold import Threshold
from studyrun.components.triggers.time import Time
from studyrun.trace.channel import Channel, Dimension

GROUPS = Channel("by_group", "loss of the group", (Dimension("group", ("inlier", "outlier")),))


def moment(step: int, value: float = 1.0, *, time: float = 0.0, due: bool = True):
    reading = {"train": np.array(value), "by_group": np.array([-value, value])}
    return SimpleNamespace(
        step=step,
        time=time,
        train_loss=value,
        channels=lambda label: {"train": Channel("train", "loss"), "by_group": GROUPS},
        reading=lambda label: reading if due else None,
    )


def first_firing(trigger, moments) -> int | None:
    carry = trigger.start()
    for each in moments:
        firing, carry = trigger.check(each, carry)
        if firing is not None:
            return each.step
    return None


WAVE = [moment(step, value) for step, value in enumerate([5.0, 3.0, 2.0, 4.0, 1.0])]


@pytest.mark.parametrize(
    ("options", "step"),
    [
        ({"above": 4.0}, 3),
        ({"above": 4.0, "after_step": 3}, None),
        ({"below": 2.0}, 2),
        ({"below": 2.0, "after_step": 2}, 4),
    ],
)
def test_threshold_fires_at_the_value_itself_and_only_later_than_after_step(options, step: int | None) -> None:
    assert first_firing(Threshold(probe="loss", channel="train", **options), WAVE) == step


@pytest.mark.parametrize(("group", "step"), [("inlier", 4), ("outlier", None)])
def test_threshold_looks_at_the_label_that_select_names(group: str, step: int | None) -> None:
    trigger = Threshold(probe="loss", channel="by_group", select={"group": group}, below=-1.0, after_step=3)
    assert first_firing(trigger, WAVE) == step


def test_threshold_passes_over_nan_and_steps_without_a_reading() -> None:
    moments = [moment(1, np.nan), moment(2, 9.0, due=False), moment(3, 9.0)]
    assert first_firing(Threshold(probe="loss", channel="train", above=4.0), moments) == 3


@pytest.mark.parametrize(
    ("options", "quantity"),
    [
        ({"channel": "train", "above": 4.0}, "training_loss"),
        ({"channel": "train", "below": 4.0}, ""),
        ({"channel": "eigenvalue", "above": 4.0, "select": {"k": 1}}, "sharpness"),
        ({"channel": "eigenvalue", "above": 4.0, "select": {"k": 2}}, ""),
        ({"channel": "by_group", "above": 4.0, "select": {"group": "outlier"}}, ""),
    ],
)
def test_threshold_says_which_quantity_rose_and_only_of_the_first_place(options, quantity: str) -> None:
    """The second eigenvalue is no sharpness, and one that falls to a level has not met it."""
    k = Dimension("k", (1, 2))
    known = {
        "train": Channel("train", "loss", standard_name="training_loss"),
        "eigenvalue": Channel("eigenvalue", "sharpness", (k,), standard_name="sharpness"),
        "by_group": GROUPS,
    }
    values = {name: np.full(channel.shape, 4.0) for name, channel in known.items()}
    at = SimpleNamespace(step=1, channels=lambda label: known, reading=lambda label: values)
    firing, _ = Threshold(probe="any", **options).check(at, None)
    assert firing.quantity == quantity


@pytest.mark.parametrize("trigger", [Step(step=4), Time(time=4.0), LossBelow(value=4.0)])
def test_what_is_no_measured_quantity_has_none(trigger) -> None:
    firing, _ = trigger.check(moment(4, 3.0, time=4.0), trigger.start())
    assert (firing.threshold, firing.quantity) == (4.0, "")


@pytest.mark.parametrize(("options", "step"), [({"value": 2.0}, 4), ({"value": 2.5, "every": 3}, None)])
def test_loss_below_is_strict_and_looks_every_so_often(options, step: int | None) -> None:
    assert first_firing(LossBelow(**options), WAVE) == step


def test_a_loss_that_is_no_number_is_not_below() -> None:
    assert first_firing(LossBelow(value=1.0), [moment(0, np.nan), moment(1, np.inf)]) is None


def test_step_fires_at_its_step() -> None:
    assert first_firing(Step(step=3), WAVE) == 3


def test_time_fires_at_its_time_however_the_sum_of_learning_rates_rounds() -> None:
    time, moments = 0.0, []
    for step in range(20):
        moments.append(moment(step, time=time))
        time += 0.01
    assert moments[10].time < 0.1, "ten times 0.01 rounds down"
    assert first_firing(Time(time=0.1), moments) == 10
    assert first_firing(Time(time=0.105), moments) == 11
