"""Forks on the disk: written where a trigger fires, read when the branch's turn comes, which may be hours later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from studyrun.component import Firing
from studyrun.engine.checkpoint_folder import CheckpointFolder
from studyrun.engine.continuing import Continuity
from studyrun.engine.events import Journal
from studyrun.engine.state import ArmState
from studyrun.study.schema import Branch


@dataclass(frozen=True)
class Forks:
    """The forks of one run."""

    checkpoints: CheckpointFolder
    continuity: Continuity
    journal: Journal

    def save(self, branch: Branch, firing: Firing, state: ArmState) -> None:
        """Write why a branch starts and from which state, and say so. Raises `RunFolderError`."""
        content = {"state": state.to_dict(), "value": firing.value, "threshold": firing.threshold}
        content |= {"quantity": firing.quantity, "reason": firing.reason, "study": self.continuity.mark}
        self.checkpoints.save_fork(branch.name, content)
        when = f"step {state.step}, effective time {state.time:.6g}"
        self.journal.event(
            "fork",
            f"{branch.name} forks from {branch.parent} at {when}: {firing.reason}",
            arm=branch.name,
            parent=branch.parent,
            step=state.step,
        )

    def load(self, branch: str) -> dict[str, Any]:
        """What a branch starts from. Raises `RunFolderError` if that cannot be read, or is not of this study."""
        content = self.checkpoints.fork(branch)
        self.continuity.check_own(content, f"the fork of {branch!r}")
        return content
