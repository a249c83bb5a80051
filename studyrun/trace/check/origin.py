"""What a run was made from and what it came to: sources, data, initial parameters, final states."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from studyrun.trace.check.arms import ArmRows
from studyrun.trace.check.findings import Findings

Rebuild = Callable[[Path], Mapping[str, Any]]
"""The fingerprints `data` and `initial` of what a run's study gives now, as in provenance.json. Runs its components."""

_FINGERPRINTS = {"data": "data", "initial": "initial parameters"}
_LONGEST_HEADER = 10_000_000


def check_sources(folder: Path, provenance: Mapping[str, Any], findings: Findings) -> None:
    """The sources of the study's own components, and of what they import, are those that ran."""
    if not isinstance(given := provenance.get("plugins", {}), dict):
        findings.fault("provenance.json", f"has plugins of type {type(given).__name__}; a mapping would be right")
    recorded = {
        f"{name}.py": entry.get("sha256") for name, entry in plugins_of(provenance).items() if isinstance(entry, dict)
    }
    sources = provenance.get("sources")
    if isinstance(sources, dict):
        recorded |= sources
        findings.looked("sources")
    elif recorded:
        findings.passed_over("what the own components import", "not recorded")
        findings.looked("own components")
    else:
        findings.passed_over("sources", "not recorded")
    for name, digest in recorded.items():
        if digest and ".." not in Path(name).parts and "\0" not in name and not Path(name).is_absolute():
            _check_source(folder / "plugins" / name, f"plugins/{name}", digest, findings)


def plugins_of(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The study's own components by kind and name, none where that entry is no mapping."""
    plugins = provenance.get("plugins")
    return plugins if isinstance(plugins, dict) else {}


def _check_source(path: Path, where: str, digest: object, findings: Findings) -> None:
    try:
        if not path.is_file():
            findings.fault(where, "is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            findings.fault(where, "is not the source that ran")
    except OSError as error:
        findings.fault(where, f"cannot be read: {error.strerror or error}")


def check_beginning(folder: Path, provenance: Mapping[str, Any], rebuild: Rebuild | None, findings: Findings) -> None:
    """Data and initial parameters are on record and, where they are to be made again, come out the same."""
    made, why = _made(folder, rebuild)
    for key, what in _FINGERPRINTS.items():
        recorded = provenance.get(key)
        if recorded is None:
            findings.passed_over(what, "not recorded")
        elif not _is_fingerprint(recorded):
            findings.fault("provenance.json", f"has no fingerprint of the {what}: {str(recorded)[:60]}")
        elif made is None:
            findings.passed_over(what, why)
        else:
            findings.looked(what)
            if made[key] != recorded:
                seed = "the study's seed gives now" if key == "initial" else "the study loads now"
                remedy = "other data, sources, seed or versions, or a processor that rounds otherwise"
                findings.fault("provenance.json", f"has other {what} than {seed}", remedy)


def _made(folder: Path, rebuild: Rebuild | None) -> tuple[Mapping[str, Any] | None, str]:
    if rebuild is None:
        return None, "`--data` does"
    try:
        return rebuild(folder), ""
    except Exception as error:  # noqa: BLE001  people's own code raises whatever it does
        return None, f"cannot be made again: {str(error) or type(error).__name__}"


def _is_fingerprint(given: object) -> bool:
    """Whether it holds SHA-256 sums, one or by split."""
    if not isinstance(given, dict) or not given:
        return False
    if "sha256" not in given:
        return all(isinstance(one, dict) and _is_fingerprint(one) for one in given.values())
    return isinstance(given["sha256"], str) and len(given["sha256"]) == 64


def check_final_states(folder: Path, arms: Mapping[str, ArmRows], findings: Findings) -> None:
    """Every arm that came to its end left its parameters, in a file whose header fits its length."""
    ended = [name for name, arm in arms.items() if arm.state == "complete"]
    paths = {name: folder / f"final-{name}.safetensors" for name in ended}
    if ended and not any(path.exists() for path in paths.values()):
        findings.passed_over("final states", "not kept")
    elif ended:
        findings.looked("final states")
        for path in paths.values():
            if what := _tensors_lack(path):
                findings.fault(path.name, what)


def _tensors_lack(path: Path) -> str:
    """What is wrong with a file of tensors, nothing if it is whole: eight bytes, a JSON header, and the numbers."""
    try:
        if path.is_symlink() or not path.is_file():
            return "is missing"
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, _LONGEST_HEADER)))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        return f"cannot be read: {error}"
    expected = 8 + length + max(ends, default=0)
    return "" if path.stat().st_size == expected else f"has {path.stat().st_size:,} bytes in place of {expected:,}"
