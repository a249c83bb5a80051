"""A block of options to a Pydantic class, or to everything that is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from studyrun.component import Options
from studyrun.stopping import heed
from studyrun.study.explanations import explain, models_in, option_names
from studyrun.study.tree import Block, Faults, Node, Where, is_null, plain

__all__ = ["as_document", "build", "option_names", "written"]
T = TypeVar("T", bound=Options)


def build(
    contract: type[T],
    block: Block,
    path: Where,
    faults: Faults,
    also: tuple[str, ...] = (),
    nested: Mapping[str, Options] | None = None,
) -> T | None:
    """The options as an instance of `contract`, or None with every reason among the faults.

    `also` are keys of the block that are read elsewhere, for the advice on unknown ones; `nested` are options that are
    components themselves, built from their blocks already.
    Strict: a text is no number and a number no text. A null stands for the default, unless the option may be null. A
    block within the block changes its default and need not repeat it.
    """
    given = {
        key: _over_default(contract, key, plain(value))
        for key, value in block.entries.items()
        if not _is_default(contract, key, value)
    }
    try:
        return contract.model_validate_json(json.dumps(given), strict=True, context=nested)
    except ValidationError as error:
        explain(error, contract, block, path, faults, also)
    except Exception as error:  # noqa: BLE001  a plugin's validator may raise anything
        heed()
        faults.add(block.origin, path, f"checking these options raised {type(error).__name__}: {error}")
    return None


def written(
    options: Options, block: Block, path: Where, faults: Faults, nested: Mapping[str, Options] | None = None
) -> dict[str, Any] | None:
    """All options as plain data, or None if those would not read back as they are: a fault of the component's own."""
    try:
        document = as_document(options)
        again = type(options).model_validate_json(json.dumps(document), strict=True, context=nested)
        if again == options:
            return document
        reason = f"they read back as {again!r}"
    except Exception as error:  # noqa: BLE001  a plugin's types may do anything
        heed()
        reason = f"{type(error).__name__}: {error}"
    faults.add(block.origin, path, f"the options cannot be written down so that the study runs again; {reason}")
    return None


def as_document(options: Options) -> dict[str, Any]:
    """All options as plain data, which validates again to equal options."""
    return options.model_dump(mode="json", by_alias=True, include=_names(type(options)), warnings="error")


@cache
def _names(contract: type[Options]) -> set[str]:
    return set(contract.model_fields)


def _is_default(contract: type[Options], key: str, value: Node) -> bool:
    """Whether a null stands there for an option that cannot be null itself."""
    if not is_null(value):
        return False
    field = _fields(contract).get(key)
    return field is not None and not _may_be_null(field.annotation)


def _over_default(contract: type[Options], key: str, value: Any) -> Any:
    """A block within the block, with what it leaves out taken from its default; anything else as it is.

    Without this, `{scale: 2}` would mean one thing over a file and another over its resolved document, where the
    default is written out.
    """
    fields = _fields(contract)
    if not isinstance(value, dict) or key not in fields:
        return value
    default = fields[key].get_default(call_default_factory=True, validated_data={})
    if not isinstance(default, Options) or set(models_in(fields[key].annotation)) != {type(default)}:
        return value
    inner = {name: _over_default(type(default), name, one) for name, one in value.items()}
    return {**as_document(default), **inner}


@cache
def _fields(contract: type[Options]) -> Mapping[str, FieldInfo]:
    """The options of a class by their names in YAML."""
    return {field.alias or name: field for name, field in contract.model_fields.items()}


def _may_be_null(annotation: Any) -> bool:
    if annotation is Any or annotation is None or annotation is type(None):
        return True
    if get_origin(annotation) is Annotated:
        return _may_be_null(get_args(annotation)[0])
    return get_origin(annotation) in (Union, UnionType) and any(map(_may_be_null, get_args(annotation)))
