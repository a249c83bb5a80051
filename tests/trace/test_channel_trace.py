"""A channel as it is read: labels select, words make the axis."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.synthetic_run import GROUPS, make_run

from studyrun.errors import TraceError
from studyrun.trace.channel_trace import axis_label
from studyrun.trace.reader import open_run


@pytest.fixture(scope="module")
def arm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("channel") / "run"
    make_run(folder)
    return open_run(folder)["baseline"]


def test_labels_select(arm):
    by_group, eigenvalue = arm["loss"]["by_group"], arm["sharpness"]["eigenvalue"]
    for place, group in enumerate(GROUPS):
        np.testing.assert_array_equal(by_group.select(group=group), by_group.values[:, place])
    np.testing.assert_array_equal(eigenvalue.select(k=2), eigenvalue.values[:, 1])
    assert eigenvalue.select(k=1, step=30) == eigenvalue.values[3, 0]
    assert arm["group_data"]["image"].select(group="boundary", member=2).shape == (1, 3, 8, 8)
    assert by_group.select() is not None


def test_what_cannot_be_selected_is_named_with_what_can(arm):
    with pytest.raises(
        TraceError, match=r"baseline/loss/by_group has no group 'outlier' \(there are: inlier, boundary"
    ):
        arm["loss"]["by_group"].select(group="outlier")
    with pytest.raises(TraceError, match=r"sharpness/eigenvalue has no k 0 \(there are: 1, 2\)"):
        arm["sharpness"]["eigenvalue"].select(k=0)
    with pytest.raises(TraceError, match=r"loss/train has no dimension 'group' \(dimensions: step\)"):
        arm["loss"]["train"].select(group="inlier")
    with pytest.raises(TraceError, match=r"has no example 60 \(there are: 0, 1, .*18, 19, \.\.\.\)"):
        arm["per_example_loss"]["loss"].select(example=60)


def test_coordinates_carry_the_labels(arm):
    coords = arm["sharpness"]["eigenvalue"].coords
    assert list(coords) == ["step", "time", "k"]
    assert coords["k"].tolist() == [1, 2]
    assert arm["loss"]["by_group"].coords["group"] == list(GROUPS)


def test_words_symbol_and_unit_make_the_axis(arm):
    eigenvalue = arm["sharpness"]["eigenvalue"]
    assert eigenvalue.label == "sharpness S [loss / parameter²]"
    assert (eigenvalue.standard_name, eigenvalue.source) == ("sharpness", "Cohen et al. 2021, arXiv:2103.00065")
    assert arm["loss"]["train_accuracy"].label == "training accuracy"
    assert axis_label("distance", "", "pixel") == "distance [pixel]"


def test_values_are_read_once(arm):
    train = arm["loss"]["train"]
    assert train.values is train.values
