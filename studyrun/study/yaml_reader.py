"""YAML text to a tree with line numbers. It never builds objects, and every fault of the text has its place.

PyYAML scans and parses; its events are put together here, since its own constructor takes `no` for a boolean, `1e-3`
for a text and the last of two equal keys for the only one. Bounds on size, depth and expanded aliases keep any file's
reading well under a second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from studyrun.study.tree import Block, Faults, Items, Node, Origin, Scalar, shortened
from studyrun.study.yaml_scalars import resolve

MAX_BYTES = 200_000
MAX_DEPTH = 40
MAX_NODES = 20_000
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


class _UnreadableError(Exception):
    """The text ends being YAML here; the fault has been noted."""


def parse(text: str, start: Origin, faults: Faults) -> Node | None:
    """The tree of any YAML text, None with the reason among the faults; the last that those take is raised.

    With `start` at line 0 (an override), everything gets that very origin.
    """
    reader = _Reader(text, start, faults)
    try:
        return reader.document()
    except _UnreadableError:
        return None


def place(text: str, index: int) -> tuple[int, int]:
    """Line and column, both from 1, of a character."""
    before = text[:index]
    return before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1


class _Reader:
    """Puts PyYAML's events together, in one pass."""

    def __init__(self, text: str, start: Origin, faults: Faults) -> None:
        self.text = text
        self.start = start
        self.faults = faults
        self.anchors: dict[str, tuple[Node, int, int] | None] = {}
        self.nodes = 0
        self.deepest = 0
        self.events = self._scan()

    def document(self) -> Node:
        """The one document of the text; null if there is none."""
        event = self._next()
        while isinstance(event, yaml.StreamStartEvent | yaml.DocumentStartEvent):
            event = self._next()
        if isinstance(event, yaml.StreamEndEvent):
            return Scalar(None, self.start)
        top = self._node(event, (), 0)
        self._next()
        if isinstance(after := self._next(), yaml.DocumentStartEvent):
            self._fail(after, (), "a second document starts here; a study file holds one")
        return top

    def _scan(self) -> Iterator[Any]:
        """PyYAML's events; whatever goes wrong inside it becomes one fault."""
        loader: Any = None
        try:
            loader = yaml.SafeLoader(self.text)
            while loader.check_event():
                yield loader.get_event()
        except yaml.MarkedYAMLError as error:
            self.faults.add(self._origin(_mark(error)), "", f"not readable as YAML: {_explained(error)}")
        except yaml.reader.ReaderError as error:
            line, column = place(self.text, int(error.position))
            message = f"the control character U+{int(error.character):04X} is not allowed in YAML; delete it"
            self.faults.add(self._at(line, column), "", message)
        except (ValueError, OverflowError) as error:
            # PyYAML leaves a few of Python's own errors uncaught, such as chr() of an escape beyond Unicode.
            where = self._origin(loader.get_mark() if loader else None)
            self.faults.add(where, "", f"not readable as YAML: an escape or number beyond its range ({error})")
        else:
            return
        raise _UnreadableError

    def _next(self) -> Any:
        return next(self.events)

    def _at(self, line: int, column: int) -> Origin:
        return Origin(self.start.file, line, column) if self.start.line else self.start

    def _origin(self, mark: Any) -> Origin:
        return self._at(mark.line + 1, mark.column + 1) if mark else self.start

    def _fail(self, event: Any, path: tuple[str, ...], message: str) -> None:
        self.faults.add(self._origin(event.start_mark), path, message)
        raise _UnreadableError

    def _node(self, event: Any, path: tuple[str, ...], depth: int) -> Node:
        if depth > MAX_DEPTH:
            self._fail(event, path[:3], f"is nested more than {MAX_DEPTH} deep; no study is")
        self._count(event, path)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path, depth)
        if not event.anchor:
            self.deepest = max(self.deepest, depth)
            return self._made(event, path, depth)
        return self._anchored(event, path, depth)

    def _count(self, event: Any, path: tuple[str, ...]) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self._fail(event, path, f"more than {MAX_NODES:,} keys and values; no study needs them")

    def _anchored(self, event: Any, path: tuple[str, ...], depth: int) -> Node:
        """A node that aliases may repeat, with how many values it holds and how deep they go."""
        self.anchors[event.anchor] = None
        nodes, deepest, self.deepest = self.nodes, self.deepest, depth
        node = self._made(event, path, depth)
        self.anchors[event.anchor] = (node, self.nodes - nodes, self.deepest - depth)
        self.deepest = max(deepest, self.deepest)
        return node

    def _made(self, event: Any, path: tuple[str, ...], depth: int) -> Node:
        origin = self._origin(event.start_mark)
        if event.tag is not None:
            tag = shortened(event.tag)
            self.faults.add_unreadable(
                origin, path, f"the tag {tag!r} is not read; write the value alone, quoted for a text"
            )
        if isinstance(event, yaml.SequenceStartEvent):
            return self._items(origin, path, depth)
        if isinstance(event, yaml.MappingStartEvent):
            return self._block(origin, path, depth)
        return self._scalar(event, origin, path)

    def _alias(self, event: Any, path: tuple[str, ...], depth: int) -> Node:
        if event.anchor not in self.anchors:
            self._fail(event, path, f"no anchor &{event.anchor} stands before this alias")
        held = self.anchors[event.anchor]
        if held is None:
            self._fail(event, path, f"the alias *{event.anchor} stands inside its own anchor")
        assert held is not None
        node, size, height = held
        self.nodes += size
        self.deepest = max(self.deepest, depth + height)
        if self.nodes > MAX_NODES or depth + height > MAX_DEPTH:
            limits = f"{MAX_NODES:,} values or {MAX_DEPTH} levels"
            self._fail(event, path, f"its aliases expand to more than {limits}; no study needs them")
        return node

    def _items(self, origin: Origin, path: tuple[str, ...], depth: int) -> Items:
        items: list[Node] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, str(len(items))), depth + 1))
        return Items(tuple(items), origin)

    def _block(self, origin: Origin, path: tuple[str, ...], depth: int) -> Block:
        entries: dict[str, Node] = {}
        keys: dict[str, Origin] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event, path)
            self._count(event, path)
            value = self._node(self._next(), (*path, key), depth + 1)
            where = self._origin(event.start_mark)
            if key in entries:
                first = f"line {keys[key].line}" if keys[key].line else "before"
                self.faults.add(where, (*path, key), f"the key {key!r} stands twice, first on {first}; keep one")
            else:
                entries[key], keys[key] = value, where
        return Block(entries, keys, origin)

    def _key(self, event: Any, path: tuple[str, ...]) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            self._fail(event, path, "a key must be a word; quote a text that begins with a bracket or a star")
        if event.tag is not None:
            self._fail(event, path, "a key with a tag is not read; a key is a word alone")
        if event.value == "<<" and event.style is None:
            self._fail(event, path, "merge keys (<<) are not read; use `profiles` or `extends`")
        key = str(event.value)
        if not key or _CONTROL.search(key):
            self._fail(event, path, "a key must be a word; this one is empty or holds a control character")
        return key

    def _scalar(self, event: Any, origin: Origin, path: tuple[str, ...]) -> Scalar:
        text = str(event.value)
        if _CONTROL.search(text):
            self.faults.add_unreadable(origin, path, "holds a control character, which no text of a study may")
            text = _CONTROL.sub("?", text)
        if event.style is not None:
            return Scalar(text, origin)
        try:
            return Scalar(resolve(text), origin)
        except ValueError as error:
            self.faults.add_unreadable(origin, path, str(error))
            return Scalar(text, origin)


def _mark(error: yaml.MarkedYAMLError) -> Any:
    """Where the mistake is: a key without its colon is noticed only after it."""
    late = "could not find expected ':'" in str(error.problem)
    return (error.context_mark if late else error.problem_mark) or error.context_mark


def _explained(error: yaml.MarkedYAMLError) -> str:
    """PyYAML's problem, with what would be right where that is known."""
    problem = f"{error.context}, {error.problem}" if error.context else str(error.problem)
    if r"'\t'" in problem:
        return f"{problem}; indent with spaces, not tabs"
    if "mapping values are not allowed here" in problem:
        return f"{problem}; quote a text that holds ': ', and check the indentation above"
    if "could not find expected ':'" in problem:
        return f"{problem}; a key is followed by ': ' and its value"
    if "expected <block end>" in problem:
        return f"{problem}; lines of one block start in the same column"
    return problem
