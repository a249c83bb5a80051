"""What a run folder's study asks for beyond what was run: by study.yaml as it stands now, and by `--set`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any

from studyrun.engine.events import Progress
from studyrun.engine.extending import MAY, Extension, changes, plan
from studyrun.engine.prepare import Prepared
from studyrun.engine.provenance import command_line
from studyrun.engine.signals import StopRequest
from studyrun.errors import RunFolderError, StudyrunError
from studyrun.registry import Registry
from studyrun.study import Study, load_study
from studyrun.study.load import study_from_text
from studyrun.trace.atomic import write_atomically
from studyrun.trace.folder import parse_study, read_study
from studyrun.trace.reader import Run, open_run

DRAWN = ("figures", "claims", "checkpoints")


def asks_for_more(folder: Path, overrides: Sequence[str]) -> bool:
    """Whether study.yaml, or an override, may ask a finished run to go on: figures and claims alone do not."""
    text, recorded = read_study(folder), _recorded(folder)[0]
    if overrides or text is None or recorded is None or text == recorded:
        return bool(overrides)
    now, then = (
        {key: value for key, value in parse_study(folder, one).items() if key not in DRAWN} for one in (text, recorded)
    )
    return now != then


def recorded_study(folder: Path) -> str | None:
    """The study that the trace holds, None where there is no trace that can be read."""
    return _recorded(folder)[0]


def _recorded(folder: Path) -> tuple[str | None, Mapping[str, str], str]:
    """The study that the trace holds, each arm's state, and the run's mark; nothing of a trace that cannot be read."""
    try:
        run = open_run(folder)
    except StudyrunError:
        return None, {}, ""  # resuming says what is wrong
    assert isinstance(run, Run)
    study = run.attributes.get("study")
    return (None if study is None else str(study)), {name: arm.state for name, arm in run.arms.items()}, run.mark


@dataclass(frozen=True)
class More:
    """The study that a run is to go on with, and what is new in it, in words; `states` are those of the arms."""

    folder: Path
    study: Study
    recorded: Study
    changes: tuple[str, ...]
    states: Mapping[str, str]
    mark: str

    @classmethod
    def of(cls, folder: Path, overrides: Sequence[str]) -> More:
        """Hold the study against what was run. Raises `RunFolderError` for what no run can go on with."""
        registry, path = Registry.for_run(folder), folder / "study.yaml"
        study = load_study(path, overrides=overrides, registry=registry)
        text, states, mark = _recorded(folder)
        if text is None or (text == read_study(folder) and not overrides):
            return cls(folder, study, study, (), states, mark)
        recorded = study_from_text(text, path, registry)
        try:
            return cls(folder, study, recorded, changes(recorded, study), states, mark)
        except RunFolderError as error:
            raise RunFolderError(cls._refusal(folder, overrides, str(error))) from error

    @staticmethod
    def _refusal(folder: Path, overrides: Sequence[str], why: str) -> str:
        path = folder / "study.yaml"
        if overrides:
            given = " ".join(f"--set {one}" for one in overrides)
            return (
                f"{folder} cannot be resumed with {given}, which gives it {why}. {MAY}. "
                f"`studyrun run {path} {given}` carries that out in a new folder"
            )
        return (
            f"{folder} cannot be resumed: study.yaml has {why}, and the attribute `study` of trace.h5 holds what was "
            f"run: put that back to go on as before. {MAY}. `studyrun run {path}` carries out what study.yaml says "
            "now, in a new folder"
        )

    def plan(
        self, prepared: Prepared, done: Mapping[str, str] | None, progress: Progress, stop: StopRequest
    ) -> Extension:
        """How the run goes on. Raises `RunFolderError` where it cannot, with nothing written."""
        return plan(prepared, self.recorded, self.changes, self.folder, self.mark, done, progress, stop)

    def note(self, facts: Mapping[str, Any]) -> None:
        """Write down what is asked for, and what was run until now: from here on, a run that is killed goes on so."""
        write_atomically(self.folder / "study.yaml", self.study.to_yaml())
        earlier = facts.get("studies")
        entries = list(earlier) if isinstance(earlier, list) else []
        text = self.recorded.to_yaml()
        if facts and (not entries or entries[-1].get("study") != text):
            entry = {"time": time(), "command": command_line(), "changes": self.changes, "study": text}
            content = {**facts, "studies": [*entries, entry]}
            write_atomically(self.folder / "provenance.json", json.dumps(content, indent=2) + "\n")
