"""What a run was made from and what it came to: sources, data, initial parameters, final states."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from studyrun.errors import RunFolderError
from studyrun.stopping import heed
from studyrun.trace.check.arms import ENDED, ArmRows
from studyrun.trace.check.files import tail
from studyrun.trace.check.findings import Findings
from studyrun.trace.weights import final_of, read_metadata

Rebuild = Callable[[Path], Mapping[str, Any]]
"""The fingerprints `data` and `initial` of what a run's study gives now, as in provenance.json. Runs its components."""

_FINGERPRINTS = {"data": "data", "initial": "initial parameters"}


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
        heed()
        return None, f"cannot be made again: {str(error) or type(error).__name__}"


def _is_fingerprint(given: object) -> bool:
    """Whether it holds SHA-256 sums, one or by split."""
    if not isinstance(given, dict) or not given:
        return False
    if "sha256" not in given:
        return all(isinstance(one, dict) and _is_fingerprint(one) for one in given.values())
    return isinstance(given["sha256"], str) and len(given["sha256"]) == 64


def check_final_states(folder: Path, arms: Mapping[str, ArmRows], findings: Findings) -> None:
    """Every arm that came to its end left the weights of that step, in a file that is whole.

    Runs of older versions left none; that a file is gone since, checksums.json tells.
    """
    kept = [arm for arm in arms.values() if arm.state in ENDED and final_of(folder, arm.name).exists()]
    if any(arm.state in ENDED for arm in arms.values()):
        findings.looked("final states") if kept else findings.passed_over("final states", "not kept")
    for arm in kept:
        path = final_of(folder, arm.name)
        try:
            step = read_metadata(path).get("step")
        except RunFolderError as error:
            findings.fault(path.name, tail(error, path))
        else:
            if step != str(arm.steps):
                findings.fault(path.name, f"holds the weights of step {step}; the arm ended at step {arm.steps}")
