"""Trees over trees, and single values into them.

Blocks merge key by key, everything else is replaced whole, lists too. A component's `use` that changes replaces its
whole block, since the options of one component mean nothing to another. A null takes back what stands below it.
"""

from __future__ import annotations

from dataclasses import dataclass

from studyrun.study.tree import Block, Faults, Items, Node, Origin, Scalar, Where, described, is_null, named, suggestion

PLACES: dict[Where, str] = {
    ("model",): "models",
    ("dataset",): "datasets",
    ("groups",): "groups",
    ("loss",): "losses",
    ("optimizer",): "optimizers",
    ("stop", "when"): "triggers",
    ("probes", "*"): "probes",
    ("branches", "*", "at"): "triggers",
    ("figures", "*"): "figures",
    ("claims", "*"): "claims",
}
"""Where a study holds components, and of which kind."""
LABELLED = ("probes", "figures", "claims")
PURPOSES = ("init", "order", "subset", "probe")


def normalised(node: Node, at: Where = ()) -> Node:
    """The tree with bare names written as `{use: name}` and a bare seed as one for each purpose."""
    if isinstance(node, Scalar):
        if isinstance(node.value, str) and _is_component(at):
            return named(node)
        if at == ("seed",) and isinstance(node.value, int) and not isinstance(node.value, bool):
            return Block(dict.fromkeys(PURPOSES, node), dict.fromkeys(PURPOSES, node.origin), node.origin)
        return node
    if len(at) > 2:
        return node
    if isinstance(node, Items):
        return Items(tuple(normalised(item, (*at, "*")) for item in node.items), node.origin)
    entries = {key: normalised(value, (*at, key)) for key, value in node.entries.items()}
    return Block(entries, node.keys, node.origin)


def merged(below: Node | None, above: Node) -> Node:
    """`above` over `below`."""
    if not (isinstance(below, Block) and isinstance(above, Block)) or _changes_use(below, above):
        return above
    entries = dict(below.entries)
    for key, value in above.entries.items():
        entries[key] = merged(entries.get(key), value)
    return Block(entries, {**below.keys, **above.keys}, below.origin)


@dataclass(frozen=True, slots=True)
class Setting:
    """One value to be put at one dotted path, and where that was written."""

    where: Where
    value: Node
    origin: Origin

    @property
    def path(self) -> str:
        """The dotted path."""
        return ".".join(self.where)


def put(tree: Block, setting: Setting, faults: Faults) -> Block:
    """The tree with a value merged in at a path. A path that leads nowhere is a fault, and the tree stays as it is."""
    above = _put(tree, (), setting, faults)
    assert isinstance(above, Block)
    return above


def _put(node: Node, at: Where, setting: Setting, faults: Faults) -> Node:
    rest = setting.where[len(at) :]
    if not rest:
        value = normalised(setting.value, at)
        return merged(_without_other_schedule(node, value, at), value)
    if isinstance(node, Items):
        return _put_in_list(node, at, setting, faults)
    if isinstance(node, Block):
        return _put_in_block(node, at, setting, faults)
    faults.add(setting.origin, setting.path, f"{'.'.join(at)} is {described(node)}, which holds no {rest[0]!r}")
    return node


def _put_in_block(node: Block, at: Where, setting: Setting, faults: Faults) -> Node:
    rest = setting.where[len(at) :]
    whole = _holds_dotted_keys(at) and (at, rest[0]) != (("sweep",), "zip")
    key = ".".join(rest) if whole else rest[0]
    if whole or len(rest) == 1:
        below = _without_other_schedule(node, Block({key: setting.value}, {}, setting.origin), at)
        assert isinstance(below, Block)
        value = merged(below.entries.get(key), normalised(setting.value, setting.where))
        if key == "use" and _changes_use(below, Block({"use": value}, {}, setting.origin)):
            return Block({"use": value}, {"use": setting.origin}, setting.origin)
        return below.with_entry(key, value, setting.origin)
    child = node.get(key)
    if child is None and rest[1].isdigit():
        message = f"no list {'.'.join((*at, key))} is written in the study; set the list whole"
        faults.add(setting.origin, setting.path, message)
        return node
    value = _put(child or Block({}, {}, setting.origin), (*at, key), setting, faults)
    return node.with_entry(key, value, node.keys.get(key, setting.origin))


def _put_in_list(node: Items, at: Where, setting: Setting, faults: Faults) -> Node:
    name = setting.where[len(at)]
    index = _index(node, at, name)
    if index is None:
        labels = tuple(filter(None, (label_of(item) for item in node.items))) if at[-1] in LABELLED else ()
        hint = suggestion(name, labels) if labels else f"its places are numbered 0 to {len(node.items) - 1}"
        message = (
            f"the list {'.'.join(at)} has no {name!r}; {hint}" if node.items else f"the list {'.'.join(at)} is empty"
        )
        faults.add(setting.origin, setting.path, message)
        return node
    # The place is addressed by its number from here on, whether it was named by number or by label.
    numbered = Setting((*at, str(index), *setting.where[len(at) + 1 :]), setting.value, setting.origin)
    item = _put(node.items[index], (*at, str(index)), numbered, faults)
    kept = () if is_null(item) else (item,)
    return Items((*node.items[:index], *kept, *node.items[index + 1 :]), node.origin)


def _without_other_schedule(below: Node, above: Node, at: Where) -> Node:
    """A probe is due `every` so often or `at` listed steps; putting the one takes back the other."""
    if at[:-1] != ("probes",) or not (isinstance(above, Block) and isinstance(below, Block)):
        return below
    others = {"every": "at", "at": "every"}
    return below.without(*(other for key, other in others.items() if above.get(key) is not None))


def label_of(item: Node) -> str | None:
    """The label of a probe, figure or claim: its `as`, or else its name."""
    if not isinstance(item, Block):
        return None
    label = item.get("as") or item.get("use")
    return label.value if isinstance(label, Scalar) and isinstance(label.value, str) else None


def _index(node: Items, at: Where, name: str) -> int | None:
    if name.isascii() and name.isdigit() and len(name) < 9:
        return int(name) if int(name) < len(node.items) else None
    if len(at) != 1 or at[0] not in LABELLED:
        return None
    return next((index for index, item in enumerate(node.items) if label_of(item) == name), None)


def _holds_dotted_keys(at: Where) -> bool:
    """Whether keys here are dotted paths themselves: the sweep, its `zip`, a branch's `set`, a claim's `where`."""
    if len(at) == 3:
        return (at[0], at[2]) in (("branches", "set"), ("figures", "where"), ("claims", "where"))
    return at in (("sweep",), ("sweep", "zip"))


def _is_component(at: Where) -> bool:
    return any(len(at) == len(place) and all(p in ("*", a) for p, a in zip(place, at, strict=True)) for place in PLACES)


def _changes_use(below: Block, above: Block) -> bool:
    new, old = above.get("use"), below.get("use")
    if not isinstance(new, Scalar):
        return False
    return not (isinstance(old, Scalar) and old.value == new.value)
