"""What stands over what: the extended file, the file itself, its profiles in the order given, then single values.

Blocks merge key by key, everything else is replaced whole, lists too. A component's `use` that changes replaces its
whole block, since the options of one component mean nothing to another. A null takes back what stands below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from studyrun.study.tree import Block, Faults, Items, Node, Origin, Scalar, Where, described, suggestion
from studyrun.study.yaml_reader import read, shown

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
MAX_EXTENDS = 20


def normalised(node: Node, at: Where = ()) -> Node:
    """The tree with bare names written as `{use: name}` and a bare seed as one for each purpose."""
    if isinstance(node, Scalar):
        if isinstance(node.value, str) and _is_component(at):
            return Block({"use": node}, {"use": node.origin}, node.origin)
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
        return merged(node, normalised(setting.value, at))
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
    below = (*setting.where,) if whole else (*at, key)
    child = node.entries.get(key)
    if child is None or (isinstance(child, Scalar) and child.value is None):
        child = Block({}, {}, setting.origin)
    last = len(below) == len(setting.where)
    value = (
        merged(node.entries.get(key), normalised(setting.value, below)) if last else _put(child, below, setting, faults)
    )
    if key == "use" and _changes_use(node, Block({"use": value}, {}, setting.origin)):
        return Block({"use": value}, {"use": setting.origin}, setting.origin)
    return node.with_entry(key, value, node.keys[key] if key in node.keys and not last else setting.origin)


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
    return Items((*node.items[:index], item, *node.items[index + 1 :]), node.origin)


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
    """Whether keys at this place are dotted paths themselves: a branch's `set`, the sweep and its `zip`."""
    return at in (("sweep",), ("sweep", "zip")) or (len(at) == 3 and at[0] == "branches" and at[2] == "set")


def _is_component(at: Where) -> bool:
    return any(len(at) == len(place) and all(p in ("*", a) for p, a in zip(place, at, strict=True)) for place in PLACES)


def _changes_use(below: Block, above: Block) -> bool:
    new, old = above.get("use"), below.get("use")
    if not isinstance(new, Scalar):
        return False
    return not (isinstance(old, Scalar) and old.value == new.value)


@dataclass
class Layers:
    """A study file with all it extends: the tree, and each profile's layers from the bottom up."""

    tree: Block
    profiles: dict[str, list[Block]] = field(default_factory=dict)


def read_layers(path: Path, faults: Faults, above: tuple[Path, ...] = ()) -> Layers | None:
    """Read a file and what it extends. None if any of it cannot be read."""
    top = read(path, faults)
    if top is None:
        return None
    layers = Layers(Block({}, {}, top.origin))
    if "extends" in top.entries:
        below = _extended(path, top.entries["extends"], faults, (*above, path.resolve()))
        if below is None:
            return None
        layers = below
    _add_profiles(layers, top, faults)
    own = normalised(top.without("extends", "profiles"))
    tree = merged(layers.tree, own)
    assert isinstance(tree, Block)
    return Layers(Block(tree.entries, tree.keys, top.origin), layers.profiles)


def _extended(path: Path, named: Node, faults: Faults, above: tuple[Path, ...]) -> Layers | None:
    if not (isinstance(named, Scalar) and isinstance(named.value, str)):
        faults.add(
            named.origin, "extends", f"{described(named)} is wrong here; the path of another study file would be right"
        )
        return None
    other = path.parent / named.value
    if other.resolve() in above:
        chain = " → ".join(shown(one) for one in (*above, other.resolve()))
        faults.add(named.origin, "extends", f"the files extend each other in a circle: {chain}")
        return None
    if len(above) > MAX_EXTENDS:
        faults.add(named.origin, "extends", f"more than {MAX_EXTENDS} files extend each other")
        return None
    if not other.is_file():
        faults.add(named.origin, "extends", f"there is no file {shown(other)}; the path is relative to this file")
        return None
    return read_layers(other, faults, above)


def _add_profiles(layers: Layers, top: Block, faults: Faults) -> None:
    profiles = top.get("profiles")
    if profiles is None:
        return
    if not isinstance(profiles, Block):
        faults.add(
            profiles.origin,
            "profiles",
            f"{described(profiles)} is wrong here; a block of named profiles would be right",
        )
        return
    for name, layer in profiles.entries.items():
        if not isinstance(layer, Block):
            message = f"{described(layer)} is wrong here; a block of what the profile changes would be right"
            faults.add(layer.origin, ("profiles", name), message)
            continue
        for key in ("profiles", "extends"):
            if key in layer.entries:
                faults.add(
                    layer.keys[key], ("profiles", name, key), f"a profile cannot set {key!r}; the file itself can"
                )
        own = normalised(layer.without("profiles", "extends"))
        assert isinstance(own, Block)
        layers.profiles.setdefault(name, []).append(own)


def with_profiles(layers: Layers, names: Sequence[str], faults: Faults) -> Block:
    """The tree with the named profiles merged over it, in the order given."""
    tree: Node = layers.tree
    for name in names:
        if name not in layers.profiles:
            faults.add(
                Origin(f"--profile {name}"), "", f"there is no such profile; {suggestion(name, layers.profiles)}"
            )
        for layer in layers.profiles.get(name, ()):
            tree = merged(tree, layer)
    assert isinstance(tree, Block)
    return tree
