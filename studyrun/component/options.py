"""What every contract is made of: options as frozen fields, and an option that is itself a component."""

from __future__ import annotations

import re
from abc import ABC
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

Carry = Any  # what a checkpoint holds without pickled code: see `studyrun.engine.plain`
Reading = Mapping[str, Any]  # channel name to a number, numpy array or tensor of the channel's shape
SplitName = Literal["train", "test"]
Statistics = Literal["train", "eval"]  # what batch norm divides by: the batch's own statistics or the running ones
OperatorKind = Literal["hessian", "gauss_newton", "fisher"]
Along = Literal["time", "step"]
Purpose = Literal["init", "order", "subset", "probe"]


class Options(BaseModel):
    """A block of options: frozen, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Component(Options, ABC):
    """What every kind shares. The file's stem is the component's name in YAML."""


COMPONENT = "x-component"  # the key of an option's JSON schema that says which kind of component it is


@dataclass(frozen=True, slots=True)
class Nested:
    """Marks an option that is itself a component: in YAML a block with `use`, in Python an instance."""

    kind: str
    contract: type[Component]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self._validate, serialization=core_schema.plain_serializer_function_ser_schema(self._written)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {COMPONENT: self.kind}

    def _validate(self, value: Any, info: ValidationInfo) -> Any:
        """The instance; a block has become one before, where its faults could be reported at their lines."""
        built = (info.context or {}).get(info.field_name) if isinstance(value, dict | str) else value
        if not isinstance(built, self.contract):
            raise ValueError(f"an instance of a {self.contract.__name__.lower()} would be right")
        return built

    def _written(self, value: Component) -> dict[str, Any]:
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(value).__name__).lower()
        return {"use": name, **dict(fields_of(value))}

    @classmethod
    @cache
    def kinds(cls, contract: type[Options]) -> dict[str, str]:
        """The options of a class that are components, with their kinds."""

        def marked(annotation: Any) -> Iterator[str]:
            for part in getattr(annotation, "__metadata__", ()) or get_args(annotation):
                if isinstance(part, cls):
                    yield part.kind
                else:
                    yield from marked(part)

        found = {
            field.alias or name: [mark.kind for mark in field.metadata if isinstance(mark, cls)]
            + list(marked(field.annotation))
            for name, field in contract.model_fields.items()
        }
        return {name: kinds[0] for name, kinds in found.items() if kinds}


def fields_of(component: Component) -> Iterator[tuple[str, Any]]:
    """The options of a component with their values, as plain data."""
    yield from component.model_dump(mode="json").items()
