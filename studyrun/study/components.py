"""Blocks with `use` to components: loaded once for each file, built once for each block."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from studyrun.component import KINDS, Component, Nested, Probe
from studyrun.contract import RESERVED
from studyrun.errors import ComponentError
from studyrun.registry import Listing, Registry
from studyrun.study.options import as_document, build, written
from studyrun.study.overrides import split
from studyrun.study.schedule import Schedule
from studyrun.study.tree import (
    Block,
    Faults,
    Node,
    Scalar,
    Value,
    Where,
    described,
    is_null,
    named,
    planted,
    shortened,
    suggestion,
)
from studyrun.trace.channel import check_name

LONGEST_LABEL = 100
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Built:
    """A component with its name in YAML, its label, when it is due (probes), and its block written out in full."""

    use: str
    label: str
    component: Component
    schedule: Schedule | None
    document: Mapping[str, Any]


def check_label(name: str, what: str) -> str:
    """Return `name` if a trace and a file's name can carry it; otherwise raise ValueError."""
    if len(name) > LONGEST_LABEL:
        raise ValueError(f"{what} {shortened(name)!r} is longer than {LONGEST_LABEL} characters")
    return check_name(name, what)


@dataclass
class Workshop:
    """Builds components, and notes what is wrong with their blocks.

    A sweep's members share most of their blocks, so what was made of a block is kept.
    """

    registry: Registry
    faults: Faults
    used: dict[tuple[str, str], Listing] = field(default_factory=dict)
    _made: dict[tuple[str, int], tuple[Node, Built | None]] = field(default_factory=dict)
    _classes: dict[tuple[str, str], type[Component] | str] = field(default_factory=dict)
    _checked: dict[tuple[Any, ...], tuple[tuple[Node, ...], Any]] = field(default_factory=dict)

    def once(self, what: Hashable, nodes: tuple[Node, ...], make: Callable[[], Made]) -> Made:
        """`what` of these nodes, made by `make` for the first arm or member that has them."""
        key = (what, *map(id, nodes))
        if key not in self._checked:
            self._checked[key] = (nodes, make())  # holding the nodes keeps their ids from reuse
        found: Made = self._checked[key][1]
        return found

    def build(self, kind: str, node: Node, where: Where) -> Built | None:
        """The component of a block, or None with the reasons among the faults."""
        key = (kind, id(node))
        if key not in self._made:
            self._made[key] = (node, self._build(kind, node, where))  # holding the node keeps its id from reuse
        return self._made[key][1]

    def _build(self, kind: str, node: Node, where: Where) -> Built | None:
        singular = KINDS[kind].singular
        if not isinstance(node, Block):
            self.faults.add(
                node.origin, where, f"{described(node)} is wrong here; a {singular}'s name or block would be right"
            )
            return None
        use = node.get("use")
        if not (isinstance(use, Scalar) and isinstance(use.value, str)):
            found = f"{described(use)} is no name" if use else "`use` is missing"
            names = tuple(listing.name for listing in self.registry.names(kind))
            message = f"{found}; the name of a {singular} would be right; {suggestion('', names)}"
            self.faults.add(use.origin if use else node.origin, (*where, "use"), message)
            return None
        contract = self._class(kind, use.value)
        if isinstance(contract, str):
            self.faults.add(use.origin, where, contract)
            return None
        return self._assemble(kind, use.value, contract, node, where)

    def _assemble(self, kind: str, use: str, contract: type[Component], node: Block, where: Where) -> Built | None:
        reserved = RESERVED.get(kind, ("use",))
        nested = self._nested(contract, node, where)
        if nested is None:
            return None
        parts = {key: one.component for key, one in nested.items()}
        component = build(contract, node.without(*reserved), where, self.faults, reserved, parts)
        label = self._label(node, use, where) if "as" in reserved else use
        conditions = self._conditions(node, where) if "where" in reserved else {}
        schedule = self._schedule(contract, node, where) if issubclass(contract, Probe) else None
        options = written(component, node, where, self.faults, parts) if component is not None else None
        if component is None or options is None or label is None or conditions is None:
            return None
        if schedule is None and issubclass(contract, Probe):
            return None
        kept = {"as": None if label == use else label, "where": conditions}
        document = {"use": use, **{key: value for key, value in kept.items() if value}, **options}
        document |= {key: one.document for key, one in nested.items()}
        if schedule is not None:
            document |= {key: value for key, value in as_document(schedule).items() if value is not None}
        return Built(use, label, component, schedule, document)

    def _nested(self, contract: type[Component], node: Block, where: Where) -> dict[str, Built] | None:
        """The options that are components themselves, or None if one of them is wrong."""
        found: dict[str, Built | None] = {}
        for key, kind in Nested.kinds(contract).items():
            block = node.get(key)
            if block is not None and not is_null(block):
                found[key] = self.build(kind, named(block), (*where, key))
        built = {key: one for key, one in found.items() if one is not None}
        return built if len(built) == len(found) else None

    def _class(self, kind: str, name: str) -> type[Component] | str:
        """The class, or why it cannot be had."""
        key = (kind, name)
        if key not in self._classes:
            try:
                found = self._classes[key] = self.registry.load(kind, name)
                self.used[key] = replace(self.registry.find(kind, name), module=found.__module__)
            except ComponentError as error:
                self._classes[key] = str(error)
        return self._classes[key]

    def _label(self, node: Block, use: str, where: Where) -> str | None:
        given = node.get("as")
        if given is None:
            return use
        if not (isinstance(given, Scalar) and isinstance(given.value, str)):
            self.faults.add(given.origin, (*where, "as"), f"{described(given)} is wrong here; a label would be right")
            return None
        try:
            return check_label(given.value, "the label")
        except ValueError as error:
            self.faults.add(given.origin, (*where, "as"), str(error))
            return None

    def _conditions(self, node: Block, where: Where) -> dict[str, Value] | None:
        """What the study has to say, by dotted path, for a figure to be drawn or a claim to be decided."""
        given = node.get("where") or Block({}, {}, node.origin)
        entries = given.entries if isinstance(given, Block) else {}
        found = {path: one.value for path, one in entries.items() if isinstance(one, Scalar) and split(path)}
        if not isinstance(given, Block) or len(found) < len(entries):
            wanted = (
                "dotted paths with the value that each has to have, such as {groups.direction: random}, would be right"
            )
            self.faults.add(given.origin, (*where, "where"), f"{described(given)} is wrong here; {wanted}")
            return None
        return found

    def _schedule(self, contract: type[Probe], node: Block, where: Where) -> Schedule | None:
        given = {key: node.entries[key] for key in ("every", "at") if key in node.entries}
        if not all(is_null(value) for value in given.values()):
            return build(Schedule, Block(given, node.keys, node.origin), where, self.faults)
        default = planted(dict(contract.default_schedule), node.origin)
        assert isinstance(default, Block)
        return build(Schedule, default, (*where, "default_schedule"), self.faults)
