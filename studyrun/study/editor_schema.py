"""The study file as JSON Schema (draft 2020-12), with every component's options, for editors.

A schema cannot follow `extends` and `profiles`. A file that extends another, and every profile, is therefore held only
to what its own layer can get wrong: unknown names and options, and values of the wrong kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import PydanticUserError

from studyrun.component import KINDS, Component, Nested, Options
from studyrun.contract import RESERVED
from studyrun.errors import ComponentError
from studyrun.registry import Listing, Registry, project_of
from studyrun.study.branches import KEYS as BRANCH_KEYS
from studyrun.study.branches import MAY_SET
from studyrun.study.schedule import Schedule
from studyrun.study.schema import Checkpoints, Limits, Seeds, Settings
from studyrun.study.sections import COMPONENTS, LISTS, REQUIRED

Schema = dict[str, Any]
CONDITIONS: Schema = {
    "type": "object",
    "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
    "description": "Only where the study has these values, by dotted path: {groups.direction: random}.",
}
LABEL: Schema = {
    "type": "string",
    "pattern": "^[A-Za-z][A-Za-z0-9_]*$",
    "description": "The label in the trace and the report; the component's name if left out.",
}


def json_schema(registry: Registry | None = None) -> dict[str, Any]:
    """The schema of a study file, over all components within reach (of the working directory, unless told).

    Imports every component. One that cannot be imported is left out, with the reason in the schema's `$comment`.
    """
    classes, notes = _loaded(registry or Registry(project_of(Path.cwd())))
    definitions: dict[str, Schema] = {}
    for listing, contract in classes.items():
        try:
            definitions[_reference(listing)] = _component(listing, contract, definitions)
        except PydanticUserError as error:
            notes.append(f"{listing.path}: {error.message}")
    for kind in KINDS:
        held = {
            listing.name: definitions[_reference(listing)]
            for listing in classes
            if listing.kind == kind and _reference(listing) in definitions
        }
        definitions[kind] = _choice(kind, held, partial=False)
        definitions[f"partial {kind}"] = _choice(kind, held, partial=True)
    for definition in definitions.values():
        definition.pop("required options", None)
    study, layer = _layer(definitions, partial=False), _layer(definitions, partial=True)
    profiles = {"type": "object", "additionalProperties": {"$ref": "#/$defs/profile"}}
    extends = {"type": "string", "description": "Another study file, relative to this one, that this one changes."}
    definitions["profile"] = layer
    definitions["extension"] = {
        **layer,
        "properties": {**layer["properties"], "profiles": profiles, "extends": extends},
    }
    definitions["study"] = {
        **study,
        "properties": {**study["properties"], "profiles": profiles},
        "required": list(REQUIRED),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A study of training dynamics",
        **({"$comment": "left out: " + "; ".join(notes)} if notes else {}),
        "if": {"type": "object", "required": ["extends"]},
        "then": {"$ref": "#/$defs/extension"},
        "else": {"$ref": "#/$defs/study"},
        "$defs": definitions,
    }


def _loaded(registry: Registry) -> tuple[dict[Listing, type[Component]], list[str]]:
    classes: dict[Listing, type[Component]] = {}
    notes = []
    for kind in KINDS:
        for name in sorted({listing.name for listing in registry.names(kind)}):
            try:
                classes[registry.find(kind, name)] = registry.load(kind, name)
            except ComponentError as error:
                notes.append(str(error))
    return classes, notes


def _reference(listing: Listing) -> str:
    return f"{listing.kind}.{listing.name}"


def _options(contract: type[Options], prefix: str, definitions: dict[str, Schema]) -> Schema:
    """The schema of a block of options; what it refers to is filed under its prefix."""
    nested = Nested.kinds(contract)
    schema = contract.model_json_schema(ref_template=f"#/$defs/{prefix}.{{model}}")
    inner = {f"{prefix}.{name}": one for name, one in schema.pop("$defs", {}).items()}
    for one in (schema, *inner.values()):
        for key, option in one.get("properties", {}).items():
            if key in nested and one is schema:
                one["properties"][key] = _of_kind(option, nested[key])
            if isinstance(option.get("default"), dict) and "$ref" in option:
                one["properties"][key] = _over_default(option, inner)
    definitions |= inner
    return schema


def _of_kind(option: Schema, kind: str) -> Schema:
    """An option that is a component: any of its kind, or null where that is the default."""
    choice: Schema = {"$ref": f"#/$defs/{kind}"}
    kept = {key: value for key, value in option.items() if key in ("title", "description", "default")}
    return {**kept, **({"if": {"type": "null"}, "else": choice} if "default" in option else choice)}


def _over_default(option: Schema, definitions: dict[str, Schema]) -> Schema:
    """A block that has a default need not be whole: what it leaves out is taken from there."""
    block = definitions[option["$ref"].removeprefix("#/$defs/")]
    return {key: value for key, value in {**block, **option}.items() if key not in ("$ref", "required")}


def _component(listing: Listing, contract: type[Component], definitions: dict[str, Schema]) -> Schema:
    """The options of a component and the study's own keys beside them."""
    schema = _options(contract, _reference(listing), definitions)
    schema["required options"] = schema.pop("required", [])
    schema["properties"] = {
        "use": {"const": listing.name, "description": listing.summary},
        **schema.get("properties", {}),
    }
    reserved = RESERVED.get(listing.kind, ())
    if "as" in reserved:
        schema["properties"]["as"] = LABEL
    if "where" in reserved:
        schema["properties"]["where"] = CONDITIONS
    if "every" in reserved:
        schema["properties"] |= _options(Schedule, "schedule", definitions)["properties"]
    return schema


def _choice(kind: str, held: Mapping[str, Schema], *, partial: bool) -> Schema:
    """Any component of a kind, by bare name or as a block. A partial block may leave out what a layer below it has."""
    bare = [schema["properties"]["use"] for schema in held.values() if partial or not schema["required options"]]
    blocks = []
    for name, schema in held.items():
        required = {} if partial else {"required": schema["required options"]}
        same = {"properties": {"use": {"const": name}}, "required": ["use"]}
        blocks.append({"if": same, "then": {"$ref": f"#/$defs/{kind}.{name}", **required}})
    block = {
        "type": ["object", "null"] if partial else "object",
        "properties": {"use": {"enum": list(held)}},
        **({} if partial else {"required": ["use"]}),
        **({"allOf": blocks} if blocks else {}),
    }
    return {"if": {"type": "string"}, "then": {"anyOf": bare} if bare else False, "else": block}


def _layer(definitions: dict[str, Schema], *, partial: bool) -> Schema:
    """The sections of a study, all of them optional here."""

    def one(kind: str) -> Schema:
        return {"$ref": f"#/$defs/{'partial ' if partial else ''}{kind}"}

    def optional(schema: Schema) -> Schema:
        return {"if": {"type": "null"}, "else": schema}

    seeds, limits = (_options(contract, "study", definitions) for contract in (Seeds, Limits))
    limits["properties"]["when"] = optional(one("triggers")) if not partial else one("triggers")
    sections: dict[str, Schema] = dict(_options(Settings, "study", definitions)["properties"])
    sections |= {name: one(kind) for name, kind in COMPONENTS.items()}
    sections["groups"] = optional(sections["groups"])
    sections["seed"] = {"anyOf": [{"type": "integer", "minimum": 0}, seeds]}
    sections["stop"] = optional(limits) if partial else {**limits, "minProperties": 1}
    # A list replaces the one below it, so that its blocks must be whole in any layer.
    sections |= {name: optional({"type": "array", "items": {"$ref": f"#/$defs/{name}"}}) for name in LISTS}
    sections["branches"] = optional(
        {"type": "object", "additionalProperties": optional(_branch(one("triggers"), partial))}
    )
    sections["checkpoints"] = optional(_options(Checkpoints, "study", definitions))
    sections["sweep"] = optional(_sweep())
    return {"type": "object", "properties": sections, "additionalProperties": False}


def _branch(trigger: Schema, partial: bool) -> Schema:
    settable = {"type": "object", "propertyNames": {"pattern": rf"^({'|'.join(MAY_SET)})(\..+)?$"}}
    parts: dict[str, Schema] = {
        "at": {**trigger, "description": "The trigger that starts this branch."},
        "from": {"type": "string", "description": "The arm it forks from; the trunk, baseline, if left out."},
        "set": {**settable, "description": "What changes at the fork, by dotted path: optimizer.lr."},
    }
    assert set(parts) == set(BRANCH_KEYS)
    return {
        "type": "object",
        "properties": parts,
        "additionalProperties": False,
        **({} if partial else {"required": ["at"]}),
    }


def _sweep() -> Schema:
    values = {"if": {"type": "null"}, "else": {"type": "array", "minItems": 1, "uniqueItems": True}}
    zipped = {
        "type": "object",
        "additionalProperties": {"if": {"type": "null"}, "else": {"type": "array", "minItems": 1}},
        "description": "Lists of one length, taken side by side.",
    }
    return {"type": "object", "properties": {"zip": zipped}, "additionalProperties": values}
