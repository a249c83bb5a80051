"""One run folder, or a sweep's, looked through from end to end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studyrun.errors import RunFolderError, TraceError
from studyrun.trace import file, process
from studyrun.trace import folder as folders
from studyrun.trace.arm import NOT_STARTED
from studyrun.trace.check import checkpoints, files, origin, sweep
from studyrun.trace.check.arms import ArmRows, Due, Rules, check_arms, read_arms
from studyrun.trace.check.findings import Findings
from studyrun.trace.check.forks import check_forks
from studyrun.trace.check.verdict import DONE, RunCheck, SweepCheck
from studyrun.trace.layout import study_mark

Schedules = Callable[[Mapping[str, Any]], Mapping[str, Due]]
"""When each probe of a study, given as plain data, is due. Raises `RunFolderError` where the study does not say."""
_STATES = (*DONE, "running", "interrupted", "failed", "killed")
_CHECK_AGAIN = "set that right, and check again"


@dataclass(frozen=True)
class Readers:
    """What a check leaves to others: when probes are due, reading a checkpoint, and making data and model again.

    Without `rebuild` no component of the study is run.
    """

    schedules: Schedules
    load: checkpoints.Load
    rebuild: origin.Rebuild | None = None


def check(folder: Path, readers: Readers) -> RunCheck | SweepCheck:
    """Look through a run folder, or a sweep's with every member. Raises `RunFolderError` if it is neither."""
    if not (folder / folders.SWEEP).is_file():
        if not (folder / "study.yaml").is_file() or not (folder / "status.json").is_file():
            folders.check_run_folder(folder)
        return _check_run(folder, readers)
    return sweep.check_sweep(folder, lambda member: _check_run(member, readers))


def _check_run(folder: Path, readers: Readers) -> RunCheck:
    findings = Findings(folder)
    status = files.read_object(folder / "status.json", findings)
    state = _state(status, findings)
    provenance = files.read_object(folder / "provenance.json", findings)
    files.check_journal(folder, state in DONE, findings)
    warnings = files.check_events(folder, status, findings)
    trace = _Trace(folder, findings, begun=state in DONE or any((folder / "checkpoints").glob("*.pt")))
    document = files.check_study(folder, trace.attributes.get("study"), findings)
    if document.get("sweep"):
        what = "is missing, and study.yaml is that of a sweep"
        findings.fault(folders.SWEEP, what, f"studyrun resume {folder} writes it anew")
    rules = _rules(document, state, provenance, readers.schedules, findings) if trace.arms and document else None
    if rules is not None:
        check_arms(trace.arms, rules, findings)
        check_forks(trace.arms, rules.exact, findings)
    findings.looked("files")
    _check_status(status, state, trace.arms, findings)
    whole = checkpoints.check_checkpoints(folder, findings)
    stuck = ""
    if state not in (*DONE, "running") and trace.rows > 0 and rules is not None:
        stuck = checkpoints.check_going_on(
            folder, whole, study_mark(trace.attributes), trace.arms, rules, readers.load, findings
        )
    origin.check_sources(folder, provenance, findings)
    origin.check_final_states(folder, trace.arms, findings)
    origin.check_beginning(folder, provenance, readers.rebuild, findings)
    summed = files.check_manifest(folder, status, state in DONE and trace.format != 1, findings)
    live = next((arm for arm in trace.arms.values() if arm.state == status.get("state")), None)
    return RunCheck(
        folder,
        state,
        trace.checksums({summed} if state in DONE else set()),
        arms=sum(arm.state != NOT_STARTED for arm in trace.arms.values()),
        probes=len({label for arm in trace.arms.values() for label in arm.probes}),
        rows=trace.rows,
        arm="" if state in DONE or live is None else live.name,
        step=0 if live is None else live.reached,
        faults=tuple(findings.faults),
        notes=tuple(findings.notes),
        warnings=tuple(warnings),
        stuck=stuck,
        looked_at=tuple(findings.looked_at),
        not_looked_at=findings.not_looked_at,
    )


class _Trace:
    """trace.h5, read from end to end; empty where it cannot be opened, which is then among the findings."""

    def __init__(self, folder: Path, findings: Findings, *, begun: bool) -> None:
        self.attributes: Mapping[str, Any] = {}
        self.arms: dict[str, ArmRows] = {}
        path = folder / folders.TRACE
        if not path.is_file():
            if begun:
                findings.fault(folders.TRACE, "is missing")
            else:
                findings.note("nothing has been recorded yet")
            return
        try:
            self.attributes = file.read(path, file.read_attributes)
            self.arms = read_arms(path, findings)
            findings.looked("trace")
        except TraceError as error:
            text = str(error).removeprefix(str(path)).lstrip(" :").split("; `studyrun check", 1)[0]
            findings.fault(folders.TRACE, text, _CHECK_AGAIN if text.endswith(file.NO_DAMAGE) else "")

    @property
    def format(self) -> object:
        """The number of its format, None where it is not known."""
        return self.attributes.get("studyrun_format")

    @property
    def rows(self) -> int:
        """The rows of all probes in all arms."""
        return sum(len(probe.step) for arm in self.arms.values() for probe in arm.probes.values())

    def checksums(self, rest: set[bool]) -> str:
        """How much lies under checksums; `rest` says it of what lies beside the trace."""
        each = {probe.summed for arm in self.arms.values() for probe in arm.probes.values()} | rest
        return "all" if each == {True} else "some" if True in each else "none"


def _state(status: Mapping[str, Any], findings: Findings) -> str:
    state = str(status.get("state", ""))
    if status and state not in _STATES:
        findings.fault("status.json", f"has the state {state!r}; there are {', '.join(_STATES)}")
    if state == "running" and process.is_here(status) and not process.lives(status):
        return "killed"
    return state or "unknown"


def _rules(
    document: Mapping[str, Any], state: str, provenance: Mapping[str, Any], schedules: Schedules, findings: Findings
) -> Rules | None:
    try:
        dues = schedules(document)
    except RunFolderError as error:
        findings.fault("study.yaml", str(error))
        return None
    own_optimizer = any(name.startswith("optimizers/") for name in origin.plugins_of(provenance))
    exact = str(provenance.get("device", "")).startswith("cpu")
    return Rules(document, dues, ended=state in DONE, exact=exact, constant_rate=not own_optimizer)


def _check_status(status: Mapping[str, Any], state: str, arms: Mapping[str, ArmRows], findings: Findings) -> None:
    """What status.json says of the arms is what the trace says."""
    noted = status.get("arms")
    for name, own in noted.items() if isinstance(noted, dict) and arms else ():
        found = arms[name].state if name in arms else "missing"
        if own != found:
            findings.fault("status.json", f"has the arm {name!r} {own}; in the trace it is {found}")
    diverged = any(arm.state == "diverged" for arm in arms.values())
    if arms and state in DONE and diverged != (state == "diverged"):
        findings.fault("status.json", f"says {state}, and {'an arm' if diverged else 'no arm'} of the trace diverged")
