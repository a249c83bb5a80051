"""`--set a.b=1`: a dotted path and a value typed as YAML."""

from __future__ import annotations

from studyrun.study.merging import Setting
from studyrun.study.tree import Faults, Origin, shortened
from studyrun.study.yaml_reader import MAX_BYTES, MAX_DEPTH, parse


def parse_override(text: str, faults: Faults) -> Setting | None:
    """The setting that `a.b=1` stands for, or None with the reason among the faults."""
    origin = Origin(f"--set {shortened(text)}")
    if len(text) > MAX_BYTES:
        faults.add(origin, "", f"is longer than {MAX_BYTES:,} characters; no setting is")
        return None
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
    """The parts of a dotted path; None where one of them is empty, or it goes deeper than any study."""
    parts = tuple(path.split(".", MAX_DEPTH))
    return parts if all(parts) and len(parts) <= MAX_DEPTH else None
