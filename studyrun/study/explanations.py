"""What Pydantic holds against a block, each fault at its line and in words that say what would be right."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast, get_args, get_origin

from pydantic import ValidationError

from studyrun.component import Options
from studyrun.registry import nearest
from studyrun.study.tree import Block, Faults, Items, Node, Scalar, Where, described, suggestion
from studyrun.study.yaml_scalars import resolve

_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a text",
    "string_pattern_mismatch": "a text of the form {pattern}",
    "string_too_short": "a text of at least {min_length} characters",
    "string_too_long": "a text of at most {max_length} characters",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "none_required": "null",
    "tuple_type": "a list",
    "list_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a block",
    "model_type": "a block of options",
    "model_attributes_type": "a block of options",
    "dataclass_type": "a block of options",
    "path_type": "a path",
    "greater_than": "a number > {gt}",
    "greater_than_equal": "a number ≥ {ge}",
    "less_than": "a number < {lt}",
    "less_than_equal": "a number ≤ {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
}
"""Pydantic's error type to what would be right; the braces are filled from the error's context."""


@cache
def option_names(contract: type[Options]) -> tuple[str, ...]:
    """The options' names as they are written in YAML."""
    return tuple(field.alias or name for name, field in contract.model_fields.items())


@dataclass(frozen=True, slots=True)
class _Complaint:
    """One of Pydantic's errors, at its place in the tree.

    `union` is the place of the union it comes from, and `member` the member of that union that refused.
    """

    place: Where
    node: Node
    detail: Any
    union: Where | None = None
    member: str = ""

    @property
    def about_key(self) -> bool:
        """Whether a key is at fault, and not a value."""
        return self.detail["type"] in ("missing", "extra_forbidden")


def explain(
    error: ValidationError, contract: type[Options], block: Block, path: Where, faults: Faults, also: tuple[str, ...]
) -> None:
    """Note every complaint as a fault; those about one value speak together."""
    complaints = _relevant([_located(block, detail) for detail in error.errors(include_url=False)])
    by_value: dict[Where, list[_Complaint]] = {}
    for complaint in complaints:
        if complaint.detail["type"] == "extra_forbidden":
            *outer, key = complaint.place
            names = _names_at(contract, tuple(outer), complaint.member) + (() if outer else also)
            holder = _at(block, tuple(outer))
            assert isinstance(holder, Block)
            message = f"there is no option {key!r} here; {suggestion(key, names)}"
            faults.add(holder.keys[key], (*path, *complaint.place), message)
        elif complaint.detail["type"] == "missing":
            key = str(complaint.detail["loc"][-1])
            what = "item" if isinstance(complaint.node, Items) else "option"
            message = f"the {what} {key!r} is missing{_described_option(contract, complaint.place, key)}"
            faults.add(complaint.node.origin, (*path, *complaint.place), message)
        else:
            by_value.setdefault(complaint.place, []).append(complaint)
    for place, about in by_value.items():
        message = _wrong(about[0].node, [one.detail for one in about], _names_at(contract, place) if place else ())
        faults.add(about[0].node.origin, (*path, *place), message)


def _located(block: Block, detail: Any) -> _Complaint:
    """Follow an error's location as far as it names places in the tree; it also names members of unions."""
    node: Node = block
    place: Where = ()
    union: Where | None = None
    member = ""
    location = detail["loc"][:-1] if detail["type"] == "missing" else detail["loc"]
    for part in location:
        if isinstance(node, Block) and str(part) in node.entries:
            node, place = node.entries[str(part)], (*place, str(part))
        elif isinstance(node, Items) and isinstance(part, int) and part < len(node.items):
            node, place = node.items[part], (*place, str(part))
        elif union is None:
            union, member = place, str(part)
    return _Complaint(place, node, detail, union, member)


def _relevant(complaints: Sequence[_Complaint]) -> list[_Complaint]:
    """Without what the unlikely members of a union say: the likely one has least against it."""
    kept = [one for one in complaints if one.union is None]
    for union in dict.fromkeys(one.union for one in complaints if one.union is not None):
        members: dict[str, list[_Complaint]] = {}
        for one in complaints:
            if one.union == union:
                members.setdefault(one.member, []).append(one)
        likely = [found for found in members.values() if any(one.about_key or one.place != union for one in found)]
        likely.sort(key=len)
        kept += likely[0] if likely else [one for found in members.values() for one in found]
    return kept


def _wrong(node: Node, details: Sequence[Any], names: Sequence[str]) -> str:
    """What a value is and what would be right, or what a component's own check says of it."""
    said = [_said(detail) for detail in details if detail["type"] not in _WANTED]
    if said:
        return "; ".join(dict.fromkeys(said))
    wanted = " or ".join(dict.fromkeys(_wanted(detail, names) for detail in details))
    return f"{described(node)} is wrong here; {wanted} would be right{_hint(node, details)}"


def _wanted(detail: Any, names: Sequence[str]) -> str:
    """What would be right, with the error's own bounds and choices filled in."""
    if detail["type"] == "model_type" and names:
        return f"a block with {', '.join(names)}"
    context = {
        key: f"{value:g}" if isinstance(value, int | float) else value for key, value in detail.get("ctx", {}).items()
    }
    return _WANTED[detail["type"]].format(**context)


def _said(detail: Any) -> str:
    """The message of an error that has no wording of its own here, without Pydantic's preamble."""
    error = detail.get("ctx", {}).get("error")
    return str(error) if error is not None and str(error) else str(detail["msg"])


def _hint(node: Node, details: Sequence[Any]) -> str:
    if not (isinstance(node, Scalar) and isinstance(node.value, str)):
        return ""
    for detail in details:
        if detail["type"] in ("literal_error", "enum"):
            near = nearest(node.value, re.findall(r"'([^']*)'", detail["ctx"]["expected"]))
            return f"; did you mean {near!r}?" if near else ""
    try:
        number = not isinstance(resolve(node.value), str)
    except ValueError:
        number = False
    return "; without quotes it is one" if number else ""


def _at(node: Node, place: Where) -> Node:
    for part in place:
        node = node.entries[part] if isinstance(node, Block) else cast(Items, node).items[int(part)]
    return node


def _names_at(contract: type[Options], place: Where, member: str = "") -> tuple[str, ...]:
    """The options known at a place inside a block: of the member of a union that is meant, or of all."""
    models = _models_at(contract, place)
    meant = [model for model in models if model.__name__ in member]
    return tuple(dict.fromkeys(name for model in meant or models for name in option_names(model)))


def _models_at(contract: type[Options], place: Where) -> list[type[Options]]:
    models: list[type[Options]] = [contract]
    for part in place:
        fields = [(field.alias or name, field) for model in models for name, field in model.model_fields.items()]
        inner = [model for name, field in fields if name == part for model in models_in(field.annotation)]
        models = inner or models  # a list's index or a dict's key stays within the same annotation
    return models


def models_in(annotation: Any) -> Iterator[type[Options]]:
    """The classes of option blocks that an annotation names, however deep."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        if issubclass(annotation, Options):
            yield annotation
        return
    for argument in get_args(annotation):
        yield from models_in(argument)


def _described_option(contract: type[Options], place: Where, key: str) -> str:
    for model in _models_at(contract, place):
        for name, field in model.model_fields.items():
            if (field.alias or name) == key and field.description:
                return f": {' '.join(field.description.split())}"
    return ""
