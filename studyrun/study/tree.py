"""A study file as a tree in which everything knows where it was written, before anything is made of it.

The tree outlives profiles, overrides and sweeps, so that a fault found after them still points at the true place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from studyrun.errors import Fault, InvalidStudyError
from studyrun.registry import nearest

Value = str | int | float | bool | None
Where = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where something was written: a file's line and column, or (at line 0) an override of the command line."""

    file: str
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    """A text, number, boolean or null."""

    value: Value
    origin: Origin


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """A list."""

    items: tuple[Node, ...]
    origin: Origin


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A mapping. `keys` holds where each key was written."""

    entries: Mapping[str, Node]
    keys: Mapping[str, Origin]
    origin: Origin

    def get(self, key: str) -> Node | None:
        """The value of `key`; None where it is absent or null."""
        node = self.entries.get(key)
        return None if isinstance(node, Scalar) and node.value is None else node

    def with_entry(self, key: str, value: Node, origin: Origin) -> Block:
        """This block with one entry added or replaced."""
        return Block({**self.entries, key: value}, {**self.keys, key: origin}, self.origin)

    def without(self, *dropped: str) -> Block:
        """This block without some of its keys."""
        kept = {key: value for key, value in self.entries.items() if key not in dropped}
        return Block(kept, self.keys, self.origin)


Node = Scalar | Items | Block


MAX_FAULTS = 200
LONGEST_PATH, LONGEST_MESSAGE = 300, 2_000
SHOWN_NAMES = 100


class Faults:
    """What has been found wrong so far. Nothing is said twice of one place, such as the one seed that stands for four
    or what all members of a sweep share, and nothing more of a place that could not be read.

    The search ends at `MAX_FAULTS`: a file of twenty thousand misspelt words would take a minute to explain.
    """

    def __init__(self) -> None:
        self.found: list[Fault] = []
        self._unreadable: set[Origin] = set()
        self._said: set[tuple[Origin, str]] = set()

    def add(self, origin: Origin, path: Where | str, message: str) -> None:
        """Note a fault; `path` is where it stands in the study. Raises `InvalidStudyError` at the last it takes."""
        message = _middle_cut(message)
        if origin not in self._unreadable and (origin, message) not in self._said:
            self._said.add((origin, message))
            where = shortened(path if isinstance(path, str) else ".".join(path), LONGEST_PATH)
            self.found.append(Fault(origin.file, origin.line, origin.column, where, message))
        if len(self.found) >= MAX_FAULTS:
            heading = Fault(origin.file, 0, 0, "", f"the search ended after {MAX_FAULTS} faults; mend these first")
            raise InvalidStudyError([heading, *self.found])

    def add_unreadable(self, origin: Origin, path: Where | str, message: str) -> None:
        """Note a fault of a place that could not be read at all, so that nothing more is said of it."""
        self.add(origin, path, message)
        self._unreadable.add(origin)

    def stop_here(self) -> None:
        """Raise `InvalidStudyError` if there is any fault."""
        if self.found:
            raise InvalidStudyError(self.found)


def is_null(node: Node) -> bool:
    """Whether a node is YAML's null."""
    return isinstance(node, Scalar) and node.value is None


def named(node: Node) -> Node:
    """A component as a block, where it may be written as its bare name."""
    return Block({"use": node}, {"use": node.origin}, node.origin) if isinstance(node, Scalar) else node


def plain(node: Node) -> Any:
    """The node as plain data: dicts, lists and scalars."""
    if isinstance(node, Block):
        return {key: plain(value) for key, value in node.entries.items()}
    if isinstance(node, Items):
        return [plain(item) for item in node.items]
    return node.value


def planted(data: Any, origin: Origin) -> Node:
    """Plain data as a tree, all of it from one origin."""
    if isinstance(data, Mapping):
        entries = {str(key): planted(value, origin) for key, value in data.items()}
        return Block(entries, dict.fromkeys(entries, origin), origin)
    if isinstance(data, list | tuple):
        return Items(tuple(planted(item, origin) for item in data), origin)
    return Scalar(data, origin)


def described(node: Node) -> str:
    """What stands there, in words for an error message."""
    if isinstance(node, Block):
        return "a block"
    if isinstance(node, Items):
        return "a list"
    if node.value is None:
        return "null"
    if isinstance(node.value, bool):
        return f"the boolean {str(node.value).lower()}"
    if isinstance(node.value, str):
        return f"the text {shortened(node.value)!r}"
    return f"the number {node.value}"


def shortened(text: str, length: int = 60) -> str:
    """The text, cut where a message would be drowned by it."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _middle_cut(message: str) -> str:
    """The message without the middle of some endless name in it: its end says what would be right."""
    half = LONGEST_MESSAGE // 2
    return message if len(message) <= LONGEST_MESSAGE else f"{message[:half]} … {message[-half:]}"


def suggestion(name: str, known: Mapping[str, Any] | tuple[str, ...] | list[str]) -> str:
    """What would be right instead of an unknown name, as the end of a message."""
    names = sorted(set(known))
    listed = ", ".join(names[:SHOWN_NAMES]) + (", ..." if len(names) > SHOWN_NAMES else "") or "none"
    near = nearest(name, known)
    return f"did you mean {near!r}? known: {listed}" if near else f"known: {listed}"
