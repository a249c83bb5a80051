"""`--set a.b=1`: a dotted path and a value typed as YAML."""

from __future__ import annotations

from studyrun.study.merging import Setting
from studyrun.study.tree import Faults, Origin, shortened
from studyrun.study.yaml_reader import parse


def parse_override(text: str, faults: Faults) -> Setting | None:
    """The setting that `a.b=1` stands for, or None with the reason among the faults."""
    origin = Origin(f"--set {shortened(text)}")
    path, equals, value = text.partition("=")
    where = split(path.strip())
    if not equals or where is None:
        faults.add(
            origin, "", "is no assignment; a dotted path, an equals sign and a value would be right: optimizer.lr=0.1"
        )
        return None
    if where[0] in ("profiles", "extends"):
        faults.add(origin, path, f"{where[0]!r} is read from files only; use --profile, or set the values themselves")
        return None
    node = parse(value, origin, faults)
    return None if node is None else Setting(where, node, origin)


def split(path: str) -> tuple[str, ...] | None:
    """The parts of a dotted path; None where one of them is empty."""
    parts = tuple(path.split("."))
    return parts if all(parts) else None
