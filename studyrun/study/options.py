"""A block of options to a Pydantic class, or to everything that is wrong with it."""

from __future__ import annotations

import json
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError

from studyrun.component import Options
from studyrun.study.explanations import explain, option_names
from studyrun.study.tree import Block, Faults, Node, Where, is_null, plain

__all__ = ["as_document", "build", "option_names"]
T = TypeVar("T", bound=Options)


def build(contract: type[T], block: Block, path: Where, faults: Faults, also: tuple[str, ...] = ()) -> T | None:
    """The options as an instance of `contract`, or None with every reason among the faults.

    `also` are keys of the block that are read elsewhere, for the advice on unknown ones.
    Strict: a text is no number and a number no text. A null stands for the default, unless the option may be null.
    """
    given = {key: plain(value) for key, value in block.entries.items() if not _is_default(contract, key, value)}
    try:
        return contract.model_validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        explain(error, contract, block, path, faults, also)
    except Exception as error:  # noqa: BLE001  a plugin's validator may raise anything
        faults.add(block.origin, path, f"checking these options raised {type(error).__name__}: {error}")
    return None


def as_document(options: Options) -> dict[str, Any]:
    """All options as plain data, which validates again to equal options."""
    return options.model_dump(mode="json", by_alias=True, include=set(type(options).model_fields))


def _is_default(contract: type[Options], key: str, value: Node) -> bool:
    """Whether a null stands there for an option that cannot be null itself."""
    if not is_null(value):
        return False
    fields = {field.alias or name: field for name, field in contract.model_fields.items()}
    return key in fields and not _may_be_null(fields[key].annotation)


def _may_be_null(annotation: Any) -> bool:
    if annotation is Any or annotation is None or annotation is type(None):
        return True
    if get_origin(annotation) is Annotated:
        return _may_be_null(get_args(annotation)[0])
    return get_origin(annotation) in (Union, UnionType) and any(map(_may_be_null, get_args(annotation)))
