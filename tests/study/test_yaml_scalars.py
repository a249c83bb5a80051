from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studyrun.study.yaml_scalars import LARGEST, resolve

TEXTS = [
    *("no", "yes", "on", "off", "y", "n", "No", "ON", "nulls", "True!", "tRUE"),
    *("2024-01-31", "12:30:00", "1:20", "0x1f", "0o17", "0b1", "1_", "_1", "1__0", "1e", "e5", ".", "-", "+", "..5"),
    *("1.2.3", "1e5.0", "inf", "nan", "Infinity", "1 000", "1,000", "٣", "1e٣", "1 ", "--1", "=", "<<"),
]
NUMBERS = {
    "0": 0,
    "3": 3,
    "-2": -2,
    "+5": 5,
    "010": 10,
    "1_000": 1000,
    "1_000_000": 10**6,
    "9223372036854775807": LARGEST,
    "1e3": 1000,
    "1E5": 10**5,
    "2e+2": 200,
    "5e0": 5,
    "-1e2": -100,
    "1_0e2": 1000,
    "1e-3": 0.001,
    "1E-5": 1e-5,
    ".5": 0.5,
    "-.5": -0.5,
    "2.": 2.0,
    "0.1": 0.1,
    "1.5e3": 1500.0,
    "1.e3": 1000.0,
    "1e20": 1e20,
    "1e300": 1e300,
    "1_0.2_5": 10.25,
    "0e5": 0,
    "1e-400": 0.0,
}


@pytest.mark.parametrize("text", TEXTS)
def test_words_stay_words(text: str) -> None:
    assert resolve(text) == text


@pytest.mark.parametrize(("text", "value"), NUMBERS.items())
def test_numbers_are_numbers(text: str, value: float) -> None:
    found = resolve(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("True", True), ("FALSE", False), ("null", None), ("~", None), ("", None), ("NULL", None)],
)
def test_what_stands_for_itself(text: str, value: object) -> None:
    assert resolve(text) is value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (".inf", "no finite number"),
        ("-.INF", "no finite number"),
        (".nan", "no finite number"),
        ("1e999", "double precision"),
        ("-1.5e400", "double precision"),
        ("9223372036854775808", "2⁶³ − 1"),
        ("9" * 5000, "2⁶³ − 1"),
        ("1e" + "9" * 50, "double precision"),
    ],
)
def test_numbers_that_no_study_can_hold(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        resolve(text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_python_s_own_spelling_of_a_float_means_that_float(number: float) -> None:
    assert resolve(repr(number)) == number


@given(st.integers(-LARGEST, LARGEST))
def test_whole_numbers_mean_themselves(number: int) -> None:
    assert resolve(str(number)) == number
    assert resolve(f"{number:_}") == number


@given(st.text())
def test_any_text_resolves_or_is_refused(text: str) -> None:
    try:
        resolve(text)
    except ValueError as error:
        assert "number" in str(error)  # noqa: PT017  most texts are no error
