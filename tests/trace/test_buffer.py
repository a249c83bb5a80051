"""A reading that breaks its probe's declaration is named by probe, channel, what was expected and what came."""

from __future__ import annotations

import numpy as np
import pytest

from studyrun.errors import ProbeError, TraceError
from studyrun.trace.buffer import ProbeBuffer
from studyrun.trace.channel import Channel, Dimension

K = Dimension("k", (1, 2))
VALUE = Channel("value", "a value", (K,))
COUNT = Channel("count", "a count", dtype="int32")


def buffer() -> ProbeBuffer:
    return ProbeBuffer("sharpness", [VALUE, COUNT])


def test_wrong_shape_names_probe_channel_expected_and_got():
    with pytest.raises(
        ProbeError, match=r"probe 'sharpness', channel 'value': expected shape \(2,\) \(k\), got \(3,\)"
    ):
        buffer().append(0, 0.0, {"value": np.zeros(3), "count": 1})


def test_an_array_for_a_scalar_is_a_wrong_shape():
    with pytest.raises(ProbeError, match=r"channel 'count': expected shape \(\) \(one number\), got \(1,\)"):
        buffer().append(0, 0.0, {"value": np.zeros(2), "count": [1]})


def test_undeclared_and_missing_channels_are_all_named():
    with pytest.raises(ProbeError) as caught:
        buffer().append(0, 0.0, {"value": np.zeros(2), "counts": 1})
    assert "'sharpness' recorded the channel 'counts', which it did not declare (declared: value, count)" in str(
        caught.value
    )
    assert "'sharpness' did not record the channel 'count', which it declared (got: value, counts)" in str(caught.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1 + 2j, 0], "expected values of type float64, got complex128"),
        (["a", "b"], "expected values of type float64, got <U1"),
        ([[1.0], [1.0, 2.0]], "expected an array of float64"),
        ([None, None], "expected values of type float64, got object"),
    ],
)
def test_values_of_a_wrong_type_are_refused(value, words):
    with pytest.raises(ProbeError, match=f"channel 'value': {words}"):
        buffer().append(0, 0.0, {"value": value, "count": 1})


@pytest.mark.parametrize(
    ("value", "words"), [(2**40, "values that fit int32, got 1099511627776"), (1.5, "of type int32, got float64")]
)
def test_a_count_that_does_not_fit_is_refused_rather_than_wrapped(value, words):
    with pytest.raises(ProbeError, match=words):
        buffer().append(0, 0.0, {"value": [0, 0], "count": value})


def test_a_refused_reading_leaves_no_trace():
    waiting = buffer()
    with pytest.raises(ProbeError):
        waiting.append(3, 0.3, {"value": np.zeros(2), "count": [1]})
    waiting.append(3, 0.3, {"value": np.zeros(2), "count": 1})
    assert len(waiting) == len(waiting.slab("value")) == 1


def test_the_reading_is_copied():
    waiting, array = buffer(), np.array([1.0, 2.0])
    waiting.append(0, 0.0, {"value": array, "count": 1})
    array[:] = 7
    assert waiting.slab("value").tolist() == [[1.0, 2.0]]


def test_narrower_floats_take_what_does_not_fit_as_infinite():
    waiting = ProbeBuffer("p", [Channel("x", "x", dtype="float32")])
    waiting.append(0, 0.0, {"x": 1e300})
    assert np.isinf(waiting.slab("x")[0])


@pytest.mark.parametrize("step", [4, 5])
def test_steps_must_increase(step):
    waiting = buffer()
    waiting.append(5, 0.5, {"value": [0, 0], "count": 1})
    with pytest.raises(TraceError, match=f"probe 'sharpness': step {step} is not after step 5"):
        waiting.append(step, 0.5, {"value": [0, 0], "count": 1})


@pytest.mark.parametrize(
    ("channels", "words"),
    [
        ([], "probe 'p' declares no channel"),
        ([COUNT, COUNT], "declares the channel 'count' twice"),
        ([VALUE, Channel("k", "clash")], "a channel and a dimension of one name, 'k'"),
        ([VALUE, Channel("other", "o", (Dimension("k", (3, 4)),))], "labels the dimension 'k' in two different ways"),
        ([Channel("x", "x", (Dimension("group", ()),))], "dimension 'group' has no places"),
        ([Channel("x", "x", (Dimension("group", ("a", "a")),))], "'group' gives two places the same label"),
        ([Channel("x", "x", (Dimension("group", ("a\0b",)),))], "'group' has a label with a NUL character"),
    ],
)
def test_channels_that_cannot_share_a_group_are_refused(channels, words):
    with pytest.raises(ProbeError, match=words):
        ProbeBuffer("p", channels)
