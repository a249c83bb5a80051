from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from studyrun.study.tree import Faults, Origin, plain
from studyrun.study.yaml_reader import parse
from studyrun.study.yaml_writer import dump

WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12) | st.sampled_from(
    [
        "no",
        "on",
        "true",
        "null",
        "~",
        "",
        "1e3",
        "1e-05",
        ".5",
        "1_0",
        "2024-01-31",
        "1:30",
        "0x1f",
        ".inf",
        "- a",
        "a: b",
        "# c",
        "ü ∂",
        "<<",
        "=",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | WORDS
SCALARS |= st.floats(allow_nan=False, allow_infinity=False)
INNER = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS.filter(bool), inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(WORDS.filter(lambda word: word not in ("", "<<")), INNER, max_size=4)


def same(a: Any, b: Any) -> bool:
    """Equal in value and type: 1 is not 1.0, and True is not 1."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@given(DOCUMENTS)
@example({"a": 1e-05, "b": 1e16, "c": "1e3", "d": "no", "e": 1.0, "f": -0.0, "g": 1e300, "h": [], "i": {}})
@example({"multi": "one\ntwo\n", "tab": "a\tb", "long": "word " * 60, "space": " a ", "quote": 'it\'s "so"'})
def test_what_is_written_is_read_back_by_this_reader_and_by_yaml_1_1(document: dict[str, Any]) -> None:
    text = dump(document)
    faults = Faults()
    node = parse(text, Origin("f", 1, 1), faults)
    assert not faults.found
    assert node is not None
    assert same(plain(node), document)
    assert same(yaml.safe_load(text), document)


@given(DOCUMENTS)
def test_writing_is_stable(document: dict[str, Any]) -> None:
    assert dump(yaml.safe_load(dump(document))) == dump(document)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "a: 0.1\n"),
        (1e-05, "a: 1.0e-05\n"),
        ("no", "a: 'no'\n"),
        ("1e3", "a: '1e3'\n"),
        ([1, 2], "a: [1, 2]\n"),
        ({"b": 1}, "a:\n  b: 1\n"),
        ("θ ∂L", "a: θ ∂L\n"),
        ((1, 2), "a: [1, 2]\n"),
    ],
)
def test_it_reads_well(value: object, text: str) -> None:
    assert dump({"a": value}) == text
