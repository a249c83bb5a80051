from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from oracles.effort import assert_effort

from studyrun.errors import InvalidStudyError
from studyrun.study.tree import Block, Faults, Items, Node, Origin, Scalar, plain
from studyrun.study.yaml_reader import MAX_NODES, parse
from studyrun.study.yaml_scalars import resolve


def is_a_word(text: str) -> bool:
    try:
        return resolve(text) == text
    except ValueError:
        return False


WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12).filter(is_a_word)
"""Texts that need no quotes; what only this reader takes for a number, such as 1e5, PyYAML leaves bare."""
SCALARS = st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | WORDS
SCALARS |= st.floats(allow_nan=False, allow_infinity=False)
DATA = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS.filter(bool), inner, max_size=4),
    max_leaves=12,
)


def parsed(text: str) -> Node:
    faults = Faults()
    node = parse(text, Origin("f", 1, 1), faults)
    assert not faults.found
    assert node is not None
    return node


def faults_of(text: str) -> list[str]:
    faults = Faults()
    with suppress(InvalidStudyError):  # raised after two hundred of them
        parse(text, Origin("f", 1, 1), faults)
    return [str(fault) for fault in faults.found]


@given(DATA)
def test_what_pyyaml_writes_is_read_as_it_was(data: Any) -> None:
    """PyYAML's dumper is the independent truth. It quotes what YAML 1.1 would not read back as a text."""
    assert plain(parsed(yaml.safe_dump(data, allow_unicode=True))) == data


@given(DATA)
def test_json_is_read_as_json(data: Any) -> None:
    """Every JSON text is YAML, and json is the independent truth."""
    text = json.dumps(data, ensure_ascii=False)
    assert plain(parsed(text)) == data


def test_every_node_knows_where_it_was_written() -> None:
    top = parsed("a: 1\nb:\n  - x\n  - {c: ü, d: 'q'}\n")
    assert isinstance(top, Block)
    assert top.keys["b"] == Origin("f", 2, 1)
    assert top.entries["a"].origin == Origin("f", 1, 4)
    items = top.entries["b"]
    assert isinstance(items, Items)
    assert items.items[0].origin == Origin("f", 3, 5)
    inner = items.items[1]
    assert isinstance(inner, Block)
    assert inner.keys["d"] == Origin("f", 4, 12)
    assert inner.entries["d"].origin == Origin("f", 4, 15)


def test_quoted_words_are_texts() -> None:
    assert plain(parsed("""[ "1", '1e-3', "true", 'null', "~" ]""")) == ["1", "1e-3", "true", "null", "~"]


def test_block_texts_are_texts() -> None:
    assert plain(parsed("a: |\n  12\nb: >\n  one\n  two\n")) == {"a": "12\n", "b": "one two\n"}


def test_keys_are_texts_however_they_look() -> None:
    assert plain(parsed("{1: a, no: b, 1e3: c, null: d, true: e}")) == {
        "1": "a",
        "no": "b",
        "1e3": "c",
        "null": "d",
        "true": "e",
    }


def test_aliases_repeat_what_they_name() -> None:
    assert plain(parsed("a: &x [1, 2]\nb: *x\n")) == {"a": [1, 2], "b": [1, 2]}


def test_every_duplicate_key_is_a_fault_of_its_own() -> None:
    assert faults_of("a: 1\nb: 2\na: 3\nb: 4\na: 5\n") == [
        "f:3:1: a: the key 'a' stands twice, first on line 1; keep one",
        "f:4:1: b: the key 'b' stands twice, first on line 2; keep one",
        "f:5:1: a: the key 'a' stands twice, first on line 1; keep one",
    ]


def test_an_override_has_no_line_to_show() -> None:
    origin = Origin("--set a=[1, 2]")
    node = parse("[1, {b: 2}]", origin, Faults())
    assert isinstance(node, Items)
    assert {item.origin for item in node.items} == {origin}


def test_an_empty_text_is_null() -> None:
    node = parsed("# nothing\n")
    assert isinstance(node, Scalar)
    assert node.value is None


HOSTILE = {
    "values": "a: [" + "1, " * 66_000 + "]",
    "keys": "{" + "a: 1," * 38_000 + "}",
    "lines": "k: v\n" * 39_000,
    "brackets": "[" * 190_000,
    "dashes": "- " * 95_000,
    "colons": "a:" * 90_000,
    "questions": "? " * 90_000,
    "one long key": "x" * 199_000 + ": 1",
    "indentation": "".join(" " * i + "a:\n" for i in range(600)),
    "digits": "a: " + "1" * 190_000,
    "aliases": "a: &a [" + "x," * 9 + "]\n" + "".join(f"{i}: &b{i} [*a, *a]\n" for i in range(9_000)),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_texts_are_refused_in_good_time(text: str) -> None:
    told: list[object] = []
    assert_effort(lambda: told.append(faults_of(text)), 12)
    assert told[0]


def test_a_large_honest_text_is_read() -> None:
    steps = ", ".join(map(str, range(MAX_NODES // 2)))
    assert plain(parsed(f"at: [{steps}]"))["at"][-1] == MAX_NODES // 2 - 1


@given(st.text(max_size=60))
def test_any_text_is_a_tree_or_a_fault(text: str) -> None:
    faults = Faults()
    assert (parse(text, Origin("f", 1, 1), faults) is not None) or faults.found


PIECES = [
    "a",
    "b: ",
    "- ",
    "\n",
    "  ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "&x ",
    "*x",
    "!t ",
    "!!str ",
    "'",
    '"',
    "|",
    ">",
    "#",
    "?",
    "%",
    "@",
]
PIECES += [
    "\t",
    "---",
    "...",
    "\\",
    "\\U99999999",
    '"\\ud800"',
    "\x85",
    "\ufeff",
    "1e9",
    "<<: ",
    "\r",
    "\x00",
    "~",
    "😀",
]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_any_heap_of_yaml_s_own_signs_is_a_tree_or_a_fault(text: str) -> None:
    faults = Faults()
    node = parse(text, Origin("f", 1, 1), faults)
    assert node is not None or faults.found
    for fault in faults.found:
        assert 1 <= fault.line <= text.count("\n") + text.count("\r") + text.count("\x85") + 2
