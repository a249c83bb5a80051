"""A sweep's folder: each member is a run, and the run that sweep.json says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from studyrun.errors import RunFolderError
from studyrun.trace import folder as folders
from studyrun.trace.check import files
from studyrun.trace.check.findings import Findings
from studyrun.trace.check.verdict import RunCheck, SweepCheck

_ABSENT = object()


def check_sweep(folder: Path, check_run: Callable[[Path], RunCheck]) -> SweepCheck:
    """Look through every member."""
    findings = Findings(folder)
    try:
        _, entries = folders.read_sweep(folder)
    except RunFolderError as error:
        findings.fault(folders.SWEEP, files.tail(error, folder / folders.SWEEP))
        return SweepCheck(folder, faults=tuple(findings.faults))
    status = files.read_object(folder / "status.json", findings)
    files.check_study(folder, None, findings)
    members, missing = [], []
    for name, overrides in entries:
        if not (folder / name / "status.json").is_file() and not (folder / name / folders.TRACE).is_file():
            missing.append(name)
        else:
            members.append(check_run(folder / name))
            _check_point(folder / name, overrides, findings)
    _check_states(status, members, findings)
    _check_beginnings([member.folder for member in members], findings)
    return SweepCheck(folder, tuple(members), tuple(findings.faults), tuple(findings.notes), tuple(missing))


def _check_point(member: Path, overrides: Mapping[str, Any], findings: Findings) -> None:
    """The member's own study sets what sweep.json says that it sets."""
    try:
        document = folders.parse_study(member, folders.read_study(member) or "")
    except RunFolderError:
        return  # among the member's own faults
    for path, value in overrides.items():
        found = _at(document, path.split("."))
        if found is not _ABSENT and not _says(found, value):
            what = f"has {member.name} set {path} to {value!r}; its study.yaml has {found!r}"
            findings.fault(folders.SWEEP, what, "take the file from another copy; the member's own study is what ran")


def _at(document: Any, parts: list[str]) -> Any:
    """The value at a dotted path, or `_ABSENT` where the path goes by labels or shorthands that plain data lack."""
    for part in parts:
        if not isinstance(document, Mapping) or part not in document:
            return _ABSENT
        document = document[part]
    return document


def _says(found: Any, value: Any) -> bool:
    """Whether a resolved value is the one given: a bare name stands for `{use: name}`, and defaults are added."""
    if isinstance(found, Mapping):
        given = value if isinstance(value, Mapping) else {"use": value}
        return "use" not in given or all(key not in found or _says(found[key], one) for key, one in given.items())
    return bool(found == value)


def _check_states(status: Mapping[str, Any], members: list[RunCheck], findings: Findings) -> None:
    noted = status.get("members")
    if not isinstance(noted, dict) or status.get("state") not in ("complete", "diverged"):
        return
    for member in members:
        own = noted.get(member.folder.name)
        said = own.get("state") if isinstance(own, dict) else None
        if said != member.state:
            findings.fault("status.json", f"has {member.folder.name} {said}; that folder says {member.state}")


def _check_beginnings(members: list[Path], findings: Findings) -> None:
    """Members of one seed, model, data set and version of torch began with the same parameters."""
    first: dict[str, tuple[Path, object]] = {}
    for member in members:
        try:
            facts, document = folders.read_json(member / "provenance.json"), _document(member)
        except RunFolderError:
            continue  # among the member's own faults
        initial = facts.get("initial")
        if initial is None:
            continue
        other, theirs = first.setdefault(_origin(facts, document), (member, initial))
        if theirs != initial:
            what = f"{other.name} and {member.name} have one seed and model, and began with other parameters"
            findings.fault("provenance.json", what, "what drew them is no function of the seed: run the sweep again")


def _document(member: Path) -> Mapping[str, Any]:
    return folders.parse_study(member, folders.read_study(member) or "")


def _origin(facts: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """All that initial parameters depend on."""
    named = [document.get(key) for key in ("model", "dataset", "precision")]
    seeds, packages = (one if isinstance(one, Mapping) else {} for one in (facts.get("seed"), facts.get("packages")))
    return repr([*named, seeds.get("init"), packages.get("torch"), facts.get("plugins"), facts.get("sources")])
