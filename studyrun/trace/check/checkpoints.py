"""The checkpoints of a run: each is what was written, and where a run is to go on, the newest can be gone on from."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from studyrun.errors import RunFolderError
from studyrun.stopping import heed
from studyrun.trace.check.arms import ArmRows, Rules
from studyrun.trace.check.files import tail
from studyrun.trace.check.findings import Findings
from studyrun.trace.sealed import unseal

CHECKPOINT = "checkpoint"
NEWEST_CHECKPOINT = 4
LATEST, PREVIOUS = "latest.pt", "previous.pt"
Load = Callable[[Path], Mapping[str, Any]]
"""Reads a checkpoint as `resume` does. Raises `RunFolderError`."""


def check_checkpoints(folder: Path, findings: Findings) -> set[str]:
    """Hold every checkpoint against its checksum, and give the names of those that are what was written."""
    sound = set()
    for path in sorted((folder / "checkpoints").glob("*.pt")):
        if what := _damage(path):
            findings.fault(f"checkpoints/{path.name}", what, _instead(path, folder))
        else:
            sound.add(path.name)
    return sound


def check_going_on(
    folder: Path, sound: set[str], mark: str, arms: Mapping[str, ArmRows], rules: Rules, load: Load, findings: Findings
) -> str:
    """Read what a resumed run would read, and say why it could not go on, nothing where it can.

    That is the newest checkpoint, or the one before it, and the forks and ends that wait. `mark` is that of the run,
    which a checkpoint carries. A state that was never readable says nothing against what was recorded.
    """
    again = f"studyrun run {folder / 'study.yaml'}"
    if not sound & {LATEST, PREVIOUS}:
        findings.fault("checkpoints", "none is left to go on from", again)
        return "no checkpoint is whole"
    content, why = _either(folder, sound & {LATEST, PREVIOUS}, load)
    if content is None:
        return why
    if why:
        findings.note(f"{why}; {_instead(Path(LATEST), folder)}")
    findings.looked("checkpoint to go on from")
    for what in _foreign(content, mark, arms, rules):
        findings.fault("checkpoints", what, again)
    for branch in _names(content.get("queue")):
        forks = {f"fork-{branch}.pt", f"fork-{branch}.copy.pt"}
        first, why = _either(folder, sound & {f"end-{branch}.pt"} or sound & forks, load)
        if first is None:
            return why or f"the fork of {branch!r} is gone"
    return ""


def _either(folder: Path, names: set[str], load: Load) -> tuple[Mapping[str, Any] | None, str]:
    """The first of these checkpoints that can be read, and why an earlier one cannot."""
    why = ""
    for name in sorted(names, key=lambda name: (name != LATEST, "copy" in name)):
        try:
            return load(folder / "checkpoints" / name), why
        except RunFolderError as error:
            why = why or f"checkpoints/{name} {tail(error, folder / 'checkpoints' / name)}"
    return None, why


def _foreign(content: Mapping[str, Any], mark: str, arms: Mapping[str, ArmRows], rules: Rules) -> Iterator[str]:
    """Why a checkpoint is not one of this study and this trace."""
    if content.get("study", mark) != mark:
        yield "the newest was written by a run of another study"
        return
    for name, state in _mapping(content.get("done")).items():
        found = arms[name].state if name in arms else "missing"
        if found != state:
            yield f"the newest is newer than the trace: it has {name!r} {state}, the trace has it {found}"
    step, name = _mapping(content.get("state")).get("step", 0), str(content.get("arm"))
    if not isinstance(step, int):
        yield f"the newest has step {step!r}"
        return
    arm = arms.get(name, ArmRows(name, {}))
    for label, due in rules.dues.items() if step else ():
        last = next((one for one in range(step - 1, arm.fork_step - 1, -1) if due(one)), None)
        if last is not None and (label not in arm.probes or last not in arm.probes[label].step):
            yield f"the newest is newer than the trace, which lacks step {last} of {name}/{label}"


def _mapping(given: object) -> Mapping[str, Any]:
    return given if isinstance(given, Mapping) else {}


def _names(given: object) -> list[str]:
    return [str(name) for name in given] if isinstance(given, list) else []


def _damage(path: Path) -> str:
    """What is wrong with a checkpoint; before format 3 it is a bare zip, with checksums of its own."""
    try:
        if path.is_symlink() or not path.is_file():
            return "is no file of its own"
        if unseal(path, CHECKPOINT, NEWEST_CHECKPOINT) is not None:
            return ""
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except RunFolderError as error:
        return tail(error, path)
    except Exception as error:  # noqa: BLE001  a damaged zip raises whatever comes of it
        heed()
        return f"is damaged: {error}"
    return f"is damaged: its part {broken} does not have its checksum" if broken else ""


def _instead(path: Path, folder: Path) -> str:
    if path.name == LATEST:
        return f"studyrun resume {folder} goes on from previous.pt"
    if path.name == PREVIOUS:
        return "nothing is lost while latest.pt is whole"
    return f"no branch can start from it; studyrun run {folder / 'study.yaml'} carries out the study again"
