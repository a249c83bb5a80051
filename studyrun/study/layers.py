"""What stands over what: the extended file, the file itself, then its profiles in the order given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from studyrun.study.merging import merged, normalised
from studyrun.study.study_file import read, shown
from studyrun.study.tree import Block, Faults, Node, Origin, Scalar, described, shortened, suggestion
from studyrun.study.yaml_reader import MAX_BYTES

MAX_EXTENDS = 20


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
    named = top.get("extends")
    if named is not None:
        below = _extended(path, named, faults, (*above, path.resolve()))
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
    try:
        size = sum(one.stat().st_size for one in (*above, other)) if other.is_file() else None
    except OSError:  # a name longer than any file's, say
        size = None
    if size is None:
        message = f"there is no file {shortened(shown(other), 200)}; the path is relative to this file"
        faults.add(named.origin, "extends", message)
        return None
    if other.resolve() in above:
        chain = " → ".join(shown(one) for one in (*above, other.resolve()))
        faults.add(named.origin, "extends", f"the files extend each other in a circle: {chain}")
        return None
    if len(above) > MAX_EXTENDS or size > MAX_BYTES:
        what = f"{MAX_EXTENDS} files" if len(above) > MAX_EXTENDS else f"{MAX_BYTES:,} bytes of files"
        faults.add(named.origin, "extends", f"more than {what} extend each other; no study needs them")
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
