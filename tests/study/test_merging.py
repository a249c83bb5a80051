"""Merging against what a plain dictionary would do."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from studyrun.study.merging import PLACES, Setting, label_of, merged, normalised, put
from studyrun.study.tree import Block, Faults, Node, Origin, plain, planted

HERE = Origin("f", 1, 1)
KEYS = st.sampled_from(["a", "b", "c"])
TREES = st.recursive(
    st.none() | st.integers(),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=8,
)
BLOCKS = st.dictionaries(KEYS, TREES, max_size=3)


def block(data: dict[str, Any]) -> Block:
    node = planted(data, HERE)
    assert isinstance(node, Block)
    return node


def merge_plain(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return {**below, **{key: merge_plain(below.get(key), value) for key, value in above.items()}}


@given(BLOCKS, BLOCKS)
def test_blocks_without_use_merge_as_dictionaries_do(below: dict[str, Any], above: dict[str, Any]) -> None:
    assert plain(merged(block(below), block(above))) == merge_plain(below, above)


@given(BLOCKS, BLOCKS)
def test_merging_the_same_layer_again_changes_nothing(below: dict[str, Any], above: dict[str, Any]) -> None:
    once = merged(block(below), block(above))
    assert plain(merged(once, block(above))) == plain(once)


@given(BLOCKS, st.lists(KEYS, min_size=1, max_size=3), st.integers())
def test_a_value_that_is_put_is_found_there_and_all_else_stays(
    data: dict[str, Any], where: list[str], value: int
) -> None:
    faults = Faults()
    tree = put(block(data), Setting(tuple(where), planted(value, HERE), HERE), faults)
    if faults.found:
        assert plain(tree) == data
        return
    found: Any = plain(tree)
    for part in where:
        found = found[part]
    assert found == value
    assert {key: one for key, one in plain(tree).items() if key != where[0]} == {
        key: one for key, one in data.items() if key != where[0]
    }


def test_a_changed_use_drops_the_options_of_the_old_one() -> None:
    below = block({"o": {"use": "gd", "lr": 1, "x": {"use": "p", "y": 1}}})
    assert plain(merged(below, block({"o": {"use": "adam"}}))) == {"o": {"use": "adam"}}
    assert plain(merged(below, block({"o": {"use": "gd", "z": 2}})))["o"]["lr"] == 1
    assert plain(merged(below, block({"o": {"x": {"use": "q"}}})))["o"] == {"use": "gd", "lr": 1, "x": {"use": "q"}}


def test_bare_names_become_blocks_wherever_a_component_stands() -> None:
    bare = {
        "model": "m",
        "dataset": "d",
        "groups": "g",
        "loss": "l",
        "optimizer": "o",
        "stop": {"when": "t"},
        "probes": ["p"],
        "branches": {"b": {"at": "t", "from": "x"}},
        "figures": ["f"],
        "claims": ["c"],
    }
    whole = {
        **{name: {"use": name[0]} for name in ("model", "dataset", "groups", "loss", "optimizer")},
        "stop": {"when": {"use": "t"}},
        "branches": {"b": {"at": {"use": "t"}, "from": "x"}},
        "probes": [{"use": "p"}],
        "figures": [{"use": "f"}],
        "claims": [{"use": "c"}],
    }
    assert plain(normalised(block(bare))) == whole
    assert len(PLACES) == 10


def test_a_bare_seed_is_one_for_each_purpose() -> None:
    assert plain(normalised(block({"seed": 3}))) == {"seed": {"init": 3, "order": 3, "subset": 3, "probe": 3}}
    assert plain(normalised(block({"seed": True}))) == {"seed": True}


@given(BLOCKS)
def test_normalising_twice_changes_nothing_more(data: dict[str, Any]) -> None:
    tree: Node = normalised(block({"model": "m", "seed": 1, "probes": ["p", data], **data}))
    assert plain(normalised(tree)) == plain(tree)


def test_the_upper_layer_s_places_are_kept() -> None:
    above = planted({"a": 1}, Origin("g", 7, 3))
    tree = merged(block({"a": 0, "b": 0}), above)
    assert isinstance(tree, Block)
    assert (tree.entries["a"].origin.file, tree.keys["a"].line, tree.entries["b"].origin.file) == ("g", 7, "f")


def test_a_label_is_the_as_or_the_name() -> None:
    assert label_of(block({"use": "loss"})) == "loss"
    assert label_of(block({"use": "loss", "as": "mine"})) == "mine"
    assert label_of(block({"use": "loss", "as": None})) == "loss"
    assert label_of(block({})) is None
    assert label_of(planted(3, HERE)) is None
