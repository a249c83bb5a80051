"""Numbers as the page writes them."""

from __future__ import annotations

from math import inf, nan

import pytest

from studyrun.report.arms import Moments
from studyrun.report.page import LONGEST_TEXT, clipped, count, duration, interval, moment, number, percent, state_class


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (nan, "–"), (inf, "–"), (0, "0"), (-0.01234, "−0.01234"), (1e-7, "1e−07"), (33.333333, "33.33")],
)
def test_number(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.04, "0.0 s"), (59.94, "59.9 s"), (60, "1 min 00 s"), (3599.6, "1 h 00 min"), (7325, "2 h 02 min")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_moment_of_one_run_and_of_several():
    assert moment(Moments()) == "–"
    assert moment(Moments((1500,), (3.0,))) == "3 (1,500)"
    assert moment(Moments((10, 20, 40), (1.0, 2.0, 4.0))) == "2 (20) [1 … 4]"
    assert moment(Moments((10, 15), (1.0, 2.0))) == "1.5 (12.5) [1 … 2]"


def test_interval_count_and_percent():
    assert interval((-1.0, 2.5)) == "−1 … 2.5"
    assert interval((-inf, 2.5)) == "−∞ … 2.5"
    assert interval(None) == "–"
    assert count(1234567) == "1,234,567"
    assert (count(1234567.0), count(1234566.5), count(None)) == ("1,234,567", "1,234,566.5", "–")
    assert percent(0.1234) == "12.3 %"


@pytest.mark.parametrize(
    ("state", "name"),
    [
        ("complete", "good"),
        ("3 × complete", "good"),
        ("3 × complete, 1 × diverged", "bad"),
        ("failed", "bad"),
        ("running", "open"),
        ("2 × complete, 1 × running", "open"),
    ],
)
def test_states_have_their_colour(state, name):
    assert state_class(state) == name


def test_a_long_diff_is_cut_and_says_where_the_rest_is():
    assert clipped("a\nb") == "a\nb"
    assert clipped("x" * (LONGEST_TEXT + 1)).endswith("x\n… the rest is in provenance.json")
