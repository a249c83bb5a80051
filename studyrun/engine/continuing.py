"""What a run goes on from: a checkpoint of its own study, and a trace that is no older than it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studyrun.engine.checkpoint_folder import AGAIN
from studyrun.errors import RunFolderError
from studyrun.study.schema import TRUNK, Study
from studyrun.trace.writer import TraceWriter


class Continuity:
    """Holds what is found in a run folder against its study and its trace."""

    def __init__(self, study: Study, folder: Path, writer: TraceWriter) -> None:
        self._study, self._folder, self._writer = study, folder, writer
        self.mark = writer.mark
        """Whose state a checkpoint holds: that of the study, as the trace has it."""

    def check_own(self, content: Mapping[str, Any], what: str) -> None:
        """Raise `RunFolderError` if a state was written by a run of another study; before it was marked, none is."""
        if content.get("study", self.mark) != self.mark:
            raise RunFolderError(
                f"{self._folder} cannot be resumed: {what} was written by a run of another study. "
                f"{AGAIN.format(self._folder)}"
            )

    def check_checkpoint(self, content: Mapping[str, Any]) -> None:
        """Raise `RunFolderError` if a checkpoint is not one of this study and this trace."""
        self.check_own(content, "its checkpoint")
        done, current = content["done"], content["arm"]
        for name in (*([current] if current else ()), *content["queue"], *done):
            if name != TRUNK and name not in {branch.name for branch in self._study.branches}:
                raise RunFolderError(
                    f"{self._folder} cannot be resumed: its checkpoint names the arm {name!r}, which study.yaml has not"
                )
        for name, state in done.items():
            if self._writer.attribute(name, "state") != state:
                raise self._older(f"arm {name!r} had come to its end, {state}")
        if content.get("state") and content["state"]["step"] > 0 and current not in self._writer.arms:
            raise self._older(f"arm {current!r} had come to step {content['state']['step']}")

    def check_rows(self, arm: str, study: Study, step: int) -> None:
        """Raise `RunFolderError` unless the trace reaches to where the arm goes on, so that no row goes missing."""
        first = int(self._writer.attribute(arm, "fork_step") or 0)
        for entry in study.probes:
            due = next((one for one in range(step - 1, first - 1, -1) if entry.schedule.due(one)), None)
            last = self._writer.last_step(arm, entry.label, step)
            if due is not None and (last is None or last < due):
                raise self._older(
                    f"arm {arm!r} had come to step {step}, and probe {entry.label!r} has no row of step {due}"
                )

    def _older(self, what: str) -> RunFolderError:
        return RunFolderError(
            f"{self._writer.path} is older than the checkpoint, by which {what}. {AGAIN.format(self._folder)}"
        )
