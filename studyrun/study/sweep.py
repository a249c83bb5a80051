"""A sweep to its members: the grid of its lists, those under `zip` side by side, each with a folder name of its own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

from studyrun.study.merging import Setting
from studyrun.study.overrides import split
from studyrun.study.schema import Member
from studyrun.study.tree import Block, Faults, Items, Node, Origin, described, is_null, plain

MAX_MEMBERS = 10_000
MAX_PATHS = 100
MAX_VALUES = 200_000
LONGEST = 120
TIED = ("optimizer", "loss", "stop", "probes", "branches")
_UNSAFE = re.compile(r"[^A-Za-z0-9.+-]+")
_UNSAFE_IN_KEY = re.compile(r"[^A-Za-z0-9._-]+")
Axis = list[tuple[Setting, ...]]
"""The places along one direction of the grid; each sets one path, or under `zip` several at once."""


def sweep_of(tree: Block) -> Node | None:
    """The tree's sweep without the paths that a null took back; None if nothing is swept."""
    node = tree.get("sweep")
    if not isinstance(node, Block) or not node.entries:
        return node
    zipped = node.get("zip")
    if isinstance(zipped, Block):
        kept = _without_nulls(zipped)
        node = node.with_entry("zip", kept, node.keys["zip"]) if kept.entries else node.without("zip")
    node = _without_nulls(node)
    return node if node.entries else None


def _without_nulls(node: Block) -> Block:
    return node.without(*(key for key, value in node.entries.items() if is_null(value)))


def expand(tree: Block, faults: Faults) -> list[tuple[Member, tuple[Setting, ...]]]:
    """The members of the tree's sweep, each with what it sets. Empty without a sweep, or with faults."""
    node = sweep_of(tree)
    if node is None:
        return []
    if not isinstance(node, Block) or not node.entries:
        faults.add(
            node.origin, "sweep", f"{described(node)} is wrong here; paths with lists would be right: {{seed: [0, 1]}}"
        )
        return []
    before = len(faults.found)
    zipped = node.get("zip")
    paths = len(node.entries) + (len(zipped.entries) if isinstance(zipped, Block) else 0)
    if paths > MAX_PATHS:
        faults.add(node.origin, "sweep", f"has {paths:,} paths; at most {MAX_PATHS} are swept at once")
        return []
    axes = list(_axes(node, faults))
    _check_size(axes, node.origin, faults)
    _check_apart(axes, faults)
    if len(faults.found) > before:
        return []
    points = [tuple(setting for place in point for setting in place) for point in product(*axes)]
    held = {id(setting): plain(setting.value) for axis in axes for place in axis for setting in place}
    overrides = [{setting.path: held[id(setting)] for setting in point} for point in points]
    members = map(Member, _names(points, axes), overrides)
    return list(zip(members, points, strict=True))


def _check_size(axes: Sequence[Axis], origin: Origin, faults: Faults) -> None:
    """Neither members nor what they set, all written out in the sweep's folder, may be beyond use."""
    size = prod(len(axis) for axis in axes)
    if size > MAX_MEMBERS:
        faults.add(origin, "sweep", f"has {size:,} members; at most {MAX_MEMBERS:,} are run as one study")
        return
    sums = ((len(axis), sum(_count(setting.value) for place in axis for setting in place)) for axis in axes if axis)
    values = sum(size // length * count for length, count in sums)
    if values > MAX_VALUES:
        message = f"sets {values:,} values in its {size:,} members; at most {MAX_VALUES:,} are set in one study"
        faults.add(origin, "sweep", message)


def _count(node: Node) -> int:
    """How many values a node holds, itself among them."""
    inner = node.entries.values() if isinstance(node, Block) else node.items if isinstance(node, Items) else ()
    return 1 + sum(map(_count, inner))


def _axes(node: Block, faults: Faults) -> Iterator[Axis]:
    for path, values in node.entries.items():
        if path != "zip":
            axis: Axis = [(setting,) for setting in _settings(node, path, values, ("sweep", path), faults)]
            _check_once(axis, ("sweep", path), faults)
            yield axis
            continue
        if not isinstance(values, Block) or not values.entries:
            message = f"{described(values)} is wrong here; paths with lists of one length would be right"
            faults.add(values.origin, ("sweep", "zip"), message)
            continue
        columns = [
            _settings(values, inner, held, ("sweep", "zip", inner), faults) for inner, held in values.entries.items()
        ]
        lengths = {len(column) for column in columns}
        if len(lengths) > 1 and all(columns):
            counts = ", ".join(f"{key} has {len(column)}" for key, column in zip(values.entries, columns, strict=True))
            faults.add(values.origin, ("sweep", "zip"), f"zipped lists must be of one length; {counts}")
        axis = [tuple(place) for place in zip(*columns, strict=False)]
        _check_once(axis, ("sweep", "zip"), faults)
        yield axis


def _check_once(axis: Axis, where: tuple[str, ...], faults: Faults) -> None:
    """No place along a direction may stand twice."""
    seen: set[str] = set()
    for place in axis:
        text = repr([plain(setting.value) for setting in place])
        if text in seen:
            what = "the value" if len(place) == 1 else "the combination"
            words = ", ".join(_word(setting.value) for setting in place)
            message = f"{what} {words} stands twice, and its member would be run twice"
            faults.add(place[0].value.origin, where, message)
        seen.add(text)


def _settings(node: Block, path: str, values: Node, where: tuple[str, ...], faults: Faults) -> list[Setting]:
    """One setting for each value of a swept path."""
    parts = split(path)
    if parts is None or parts[0] in ("sweep", "profiles", "extends", "title", "checkpoints"):
        faults.add(
            node.keys[path], where, f"{path!r} cannot be swept; the path of a model's, optimizer's, ... option can"
        )
        return []
    if not isinstance(values, Items) or not values.items:
        found = "an empty list" if isinstance(values, Items) else described(values)
        faults.add(values.origin, where, f"{found} is wrong here; a list of the values to take would be right")
        return []
    return [Setting(parts, value, value.origin) for value in values.items]


def _check_apart(axes: Sequence[Axis], faults: Faults) -> None:
    """No swept path may lie on or inside another: the later would undo the earlier."""
    swept = [setting for axis in axes if axis for setting in axis[0]]
    for index, one in enumerate(swept):
        for other in swept[:index]:
            shorter = min(len(one.where), len(other.where))
            if one.where[:shorter] == other.where[:shorter]:
                message = f"{one.path} and {other.path} are swept both, and one would undo the other"
                faults.add(one.origin, ("sweep", one.path), message)


def _names(points: Sequence[Sequence[Setting]], axes: Sequence[Axis]) -> list[str]:
    """A folder name for each point: what differs, such as `seed=0_lr=0.01`; numbered where that is not enough."""
    word_of = {id(setting): _word(setting.value) for axis in axes for place in axis for setting in place}
    words = [{setting.path: word_of[id(setting)] for setting in point} for point in points]
    varying = [path for path in words[0] if len({word[path] for word in words}) > 1] or list(words[0])
    tails = Counter(path.rsplit(".", 1)[-1] for path in varying)
    keys = {path: path.rsplit(".", 1)[-1] if tails[path.rsplit(".", 1)[-1]] == 1 else path for path in varying}
    names = ["_".join(f"{_UNSAFE_IN_KEY.sub('-', keys[path])}={word[path]}" for path in varying) for word in words]
    count = Counter(name[:LONGEST] for name in names)
    return [
        name if len(name) <= LONGEST and count[name] == 1 else f"{name[:LONGEST]}_{index}"
        for index, name in enumerate(names)
    ]


def _word(value: Node) -> str:
    """A swept value in a file's name. It holds no underscore, which stands between values and before numbers."""
    held = plain(value)
    word = _UNSAFE.sub("-", _spelt(held))[:40]
    return (word if isinstance(held, int | float) else word.strip("-")) or "empty"


def _spelt(held: Any) -> str:
    if isinstance(held, Mapping):
        rest = [f"{key}-{_spelt(one)}" for key, one in held.items() if key != "use"]
        return "-".join([str(held["use"]), *rest] if "use" in held else rest)
    if isinstance(held, list):
        return "-".join(map(_spelt, held))
    return "null" if held is None else str(held).lower() if isinstance(held, bool) else str(held)


def unseen(points: Iterable[tuple[Member, tuple[Setting, ...]]]) -> Iterator[tuple[Setting, ...]]:
    """The points that set some section as no point before them did.

    A section is right or wrong by itself, save those that triggers and branches tie together. A grid of a thousand
    seeds and ten models is thus checked in about a thousand steps.
    """
    seen: set[tuple[object, ...]] = set()
    for _, point in points:
        sections: dict[str, list[int]] = {}
        for setting in point:
            section = "tied" if setting.where[0] in TIED else setting.where[0]
            sections.setdefault(section, []).append(id(setting.value))
        states = {(section, *values) for section, values in sections.items()}
        if not states <= seen:
            yield point
        seen |= states
