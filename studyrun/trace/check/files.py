"""The files of a run folder beside the trace: readable, of one mind with it, and what they were when the run ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studyrun.errors import RunFolderError
from studyrun.trace import folder as folders
from studyrun.trace import manifest
from studyrun.trace.check.findings import Findings, count
from studyrun.trace.journal import journal_of, read_journal

_EVENTS_IN_MEMORY = 64_000_000


def read_object(path: Path, findings: Findings, *, needed: bool = True) -> dict[str, Any]:
    """A JSON file of the run folder, empty with a fault where it cannot be read or is missing."""
    try:
        content = folders.read_json(path)
    except RunFolderError as error:
        findings.fault(path.name, tail(error, path))
        return {}
    if not content and needed:
        findings.fault(path.name, "is missing or empty")
    return content


def check_study(folder: Path, recorded: object, findings: Findings) -> dict[str, Any]:
    """The study as plain data; a fault unless study.yaml loads and is, to the letter, what the trace was made from."""
    try:
        text = folders.read_study(folder)
        if text is None:
            findings.fault("study.yaml", "is missing", "write the attribute `study` of trace.h5 into it")
            text = str(recorded or "")
        elif recorded is not None and text != recorded:
            remedy = "put back the attribute `study` of trace.h5, which is what was run"
            findings.fault("study.yaml", "is not the text that the trace was made from", remedy)
        return folders.parse_study(folder, text)
    except RunFolderError as error:
        findings.fault("study.yaml", tail(error, folder / "study.yaml"))
        return {}


def check_journal(folder: Path, ended: bool, findings: Findings) -> None:
    """A journal that was left behind is a commit that was cut short: harmless before the end, if it is whole."""
    trace = folder / folders.TRACE
    if not journal_of(trace).exists():
        return
    name = journal_of(trace).name
    if read_journal(trace) is None:
        findings.fault(name, "is damaged, and the trace may be half written", f"studyrun resume {folder}")
    elif ended:
        findings.fault(name, "was left behind, and the run has ended", f"studyrun resume {folder}")
    else:
        findings.note(f"{name} holds the last commit, which was cut short; `studyrun resume` finishes it")


def check_events(folder: Path, status: Mapping[str, Any], findings: Findings) -> list[str]:
    """Every line of events.jsonl reads, but for what a process did not come to write to its end; its warnings."""
    path = folder / "events.jsonl"
    if path.exists() and not path.is_file():
        findings.fault(path.name, "is a pipe, a device or a folder")
        return []
    try:
        if path.stat().st_size > _EVENTS_IN_MEMORY:
            findings.passed_over(path.name, "it is too long")
            return []
        lines = [line for line in path.read_bytes().split(b"\n") if line.strip()]
    except OSError as error:
        findings.fault(path.name, f"cannot be read: {error.strerror or error}")
        return []
    events = [event for line in lines if (event := _event(line))]
    stretches = sum(event["event"] in ("run started", "run resumed") for event in events)
    if (torn := len(lines) - len(events)) > stretches:
        findings.fault(path.name, f"{count(torn, 'line')} of {len(lines):,} cannot be read")
    if not stretches:
        findings.fault(path.name, "does not say that the run has started")
    ends = [event.get("state") for event in events if event["event"] == "run ended"]
    if status.get("state") in ("complete", "diverged") and ends and ends[-1] != status["state"]:
        findings.fault(path.name, f"the run ended {ends[-1]}; status.json has {status['state']}")
    return [str(event.get("message", event["event"])) for event in events if event.get("level") == "warning"]


def check_manifest(folder: Path, status: Mapping[str, Any], expected: bool, findings: Findings) -> bool:
    """Hold the folder against checksums.json, and return whether there is one that holds for this end of the run."""
    try:
        content = manifest.read_manifest(folder)
    except RunFolderError as error:
        findings.fault(manifest.MANIFEST, tail(error, folder / manifest.MANIFEST))
        return True
    if content and manifest.holds_for(content, dict(status)):
        for name, what in manifest.changed(folder, content):
            findings.fault(name, what)
        return True
    if expected:
        findings.fault(manifest.MANIFEST, "is not of this end of the run" if content else "is missing")
    return False


def _event(line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else {}


def tail(error: RunFolderError, path: Path) -> str:
    """A message without the path that it begins with."""
    return str(error).removeprefix(str(path)).lstrip(" :")
