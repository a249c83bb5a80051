"""Plain data to YAML that this project's reader and every other YAML reader take the same way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from studyrun.study.yaml_scalars import resolve


class _Writer(yaml.SafeDumper):
    """Short lists stay on one line, and nothing is written as an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal values out each time; anchors are noise to a reader."""
        return True


def dump(document: Mapping[str, Any]) -> str:
    """The document as YAML, in the order of its keys. Reading it back gives the same values and types."""
    written = yaml.dump(_plain(document), Dumper=_Writer, sort_keys=False, allow_unicode=True, width=100)
    return str(written)


def _plain(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {str(key): _plain(value) for key, value in data.items()}
    return [_plain(item) for item in data] if isinstance(data, list | tuple) else data


def _text(dumper: _Writer, text: str) -> yaml.ScalarNode:
    """Quoted if any reader of YAML, 1.1 or 1.2 or ours, could take the bare word for something else than text."""
    try:
        ours = resolve(text)
    except ValueError:
        ours = None
    style = "'" if ours != text and text.isprintable() else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _float(dumper: _Writer, number: float) -> yaml.ScalarNode:
    """With a point always: YAML 1.1 takes `1e-05` for a text, and this project's reader `1e+16` for a whole number."""
    mantissa, exponent, power = repr(number).partition("e")
    mantissa = mantissa if "." in mantissa else f"{mantissa}.0"
    return dumper.represent_scalar("tag:yaml.org,2002:float", f"{mantissa}{exponent}{power}")


def _list(dumper: _Writer, items: list[Any]) -> yaml.SequenceNode:
    flat = not any(isinstance(item, list | dict) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flat)


_Writer.add_representer(str, _text)
_Writer.add_representer(float, _float)
_Writer.add_representer(list, _list)
