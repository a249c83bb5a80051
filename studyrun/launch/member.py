"""One member of a sweep, begun or resumed in whatever process this is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from studyrun.engine.events import Progress
from studyrun.engine.run import RunResult, prepare
from studyrun.engine.signals import StopRequest
from studyrun.engine.sources import SourceRecord
from studyrun.launch.failure import explained
from studyrun.launch.folder import data_folder, make_run_folder
from studyrun.launch.lock import holding
from studyrun.launch.one import as_it_stands, run_prepared
from studyrun.launch.outcome import MemberOutcome
from studyrun.launch.resume_one import resume_one
from studyrun.launch.threads import use_threads
from studyrun.registry import Registry
from studyrun.stopping import heeding, taken
from studyrun.study import Study, load_study, study_from_member
from studyrun.study.schema import Member


@dataclass(frozen=True, slots=True)
class MemberTask:
    """A member to finish: plain data, so that another process can take it over.

    The study is read from the sweep's folder; `source`, `profiles` and `settings` say what it was made from.
    """

    sweep: Path
    name: str
    threads: int
    command: tuple[str, ...]
    source: Path | None = None
    profiles: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The member's own run folder."""
        return self.sweep / self.name


def finish_member(task: MemberTask, progress: Progress, stop: StopRequest) -> MemberOutcome:
    """Run or resume a member to its end. A failure is an outcome: it must not end the sweep."""
    try:
        with heeding():
            result = _finish(task, progress, stop)
    except KeyboardInterrupt:
        taken()
        return MemberOutcome(task.name, as_it_stands(task.folder).state)
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever a member's components raise is its own affair
        return MemberOutcome(task.name, "failed", explained(error))
    return MemberOutcome(task.name, result.state)


def _finish(task: MemberTask, progress: Progress, stop: StopRequest) -> RunResult:
    if (task.folder / "study.yaml").is_file():
        return resume_one(task.folder, progress, stop, task.threads)
    file = (task.sweep / "study.yaml").resolve()
    study, members = _sweep(file, task.source, file.stat().st_mtime_ns)
    own = study_from_member(study, members[task.name], _registry(file, task.source))
    own = replace(own, profiles=task.profiles, settings=task.settings)
    use_threads(task.threads)
    prepared = prepare(replace(own, source=task.source or own.source), data_folder())
    folder = task.folder if task.folder.is_dir() else make_run_folder(task.folder)
    record = SourceRecord(prepared.study)
    record.check(task.sweep)
    with holding(folder, progress):
        result = run_prepared(prepared, folder, task.command, progress, stop)
    record.check(task.sweep)
    record.copy(task.sweep)  # what only a whole run imports, for the members to come
    return result


@lru_cache(maxsize=1)
def _sweep(path: Path, source: Path | None, changed: int) -> tuple[Study, dict[str, Member]]:
    """The whole sweep, read once for all the members that this process takes, and again when the file has changed."""
    study = load_study(path, registry=_registry(path, source))
    study = replace(study, source=source or path)
    return study, {member.name: member for member in study.members}


def _registry(path: Path, source: Path | None) -> Registry:
    """What a sweep is made of, which must not change from member to member: its folder keeps what it began with.

    It comes from the project of `source` or, when the sweep is resumed, from that around its folder.
    """
    near = Registry.for_study(source) if source else Registry.for_run(path.parent)
    return Registry(near.project, path.parent / "plugins")
