"""The arms of one run, one after another: forks, the trace, checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from studyrun.component import Firing
from studyrun.engine.arm import Arm, Ending
from studyrun.engine.arm_record import arm_attributes, probe_attributes, write_costs
from studyrun.engine.checkpoint_folder import CheckpointFolder
from studyrun.engine.continuing import Continuity
from studyrun.engine.events import Journal, Progress
from studyrun.engine.ledger import Ledger
from studyrun.engine.prepare import Prepared, study_of
from studyrun.engine.random_state import seed_everything_global
from studyrun.engine.recorder import Recorder
from studyrun.engine.signals import StopRequest
from studyrun.engine.sources import SourceRecord
from studyrun.engine.state import ArmState
from studyrun.engine.trainer import Trainer
from studyrun.errors import StudyrunError
from studyrun.study.schema import TRUNK, Branch, Study
from studyrun.trace.manifest import write_manifest
from studyrun.trace.writer import TraceWriter

SECONDS_BETWEEN_STATUS = 5.0
MOST_BUFFERED = 64 * 2**20


@dataclass
class RunResult:
    """How a run ended: complete, diverged, interrupted or failed, and each arm's state."""

    folder: Path
    state: str
    arms: dict[str, str] = field(default_factory=dict)


class RunInProgress:
    """The run folder being filled: which arms are done, which wait, and what a checkpoint must hold."""

    def __init__(self, prepared: Prepared, folder: Path, progress: Progress, stop: StopRequest) -> None:
        self.study, self.problem, self.channels = prepared.study, prepared.problem, prepared.arm_channels
        self.folder, self.progress, self.stop = folder, progress, stop
        self.journal = Journal(folder, progress)
        self.checkpoints = CheckpointFolder(folder, stop, self.journal.warn)
        self.queue: list[str] = []
        self.done: dict[str, str] = {}
        self.current = TRUNK
        self.ledger = Ledger()
        self.sources = SourceRecord(self.study)
        self._last_saved = monotonic()
        self._last_status = 0.0
        self._at_start: int | None = None

    # --- the queue of arms ---------------------------------------------------------------------------------------

    def run(self, writer: TraceWriter, resumed: dict[str, Any] | None = None) -> RunResult:
        """Run what is left, arm by arm."""
        self.writer, self.continuity = writer, Continuity(self.study, self.folder, writer)
        if resumed is not None:
            self._take_up(resumed)
        while True:
            ending = self._run_arm(self.current, resumed)
            if ending.state == "interrupted":
                return self._finish("interrupted")
            resumed = None
            if not self.queue:
                return self._finish("diverged" if "diverged" in self.done.values() else "complete")
            self.current = self.queue.pop(0)

    def _take_up(self, checkpoint: dict[str, Any]) -> None:
        """Stand where the checkpoint stood. Raises `RunFolderError` if it is not one of this study and this trace."""
        self.continuity.check_checkpoint(checkpoint)
        self.queue, self.done, self.current = list(checkpoint["queue"]), dict(checkpoint["done"]), checkpoint["arm"]
        begun = [(label, name) for name, labels in self.writer.arms.items() for label in labels]
        known = {label: self.channels[name][label] for label, name in begun if label in self.channels.get(name, ())}
        for text in self.writer.adopt(known):
            self.journal.warn(text)

    def _run_arm(self, name: str, resumed: dict[str, Any] | None) -> Ending:
        study = study_of(self.study, name)
        branch = next((b for b in self.study.branches if b.name == name), None)
        self.ledger = Ledger.from_dict(resumed["costs"]) if resumed is not None and resumed["state"] else Ledger()
        arm = self._arm(name, study)
        self._set_first_state(arm, branch, resumed)
        arm.start()
        self._open_in_trace(name, study, branch, arm.trainer.step)
        self._at_start = arm.trainer.step
        try:
            ending = arm.run()
        except BaseException as error:
            self._arm_failed(name, error)
            raise
        self._close_in_trace(arm, ending)
        return ending

    def _arm(self, name: str, study: Study) -> Arm:
        return Arm(
            name=name,
            trainer=Trainer(self.problem.with_study(study)),
            probes=study.probes,
            channels=self.channels[name],
            # Of a resumed arm, some branches have forked already: they stand in the checkpoint's queue.
            branches=[one for one in self.study.branches if one.parent == name and one.name not in self.queue],
            stop=study.stop,
            recorder=Recorder(self.writer, name, self.channels[name], self.journal.warn),
            ledger=self.ledger,
            fork=self._fork,
            checkpoint=self._maybe_checkpoint,
            stopping=lambda: self.stop.requested,
            update=self._update,
            context_of=lambda arm: self.problem.with_study(study_of(self.study, arm)),
        )

    def _set_first_state(self, arm: Arm, branch: Branch | None, resumed: dict[str, Any] | None) -> None:
        """Load the arm's checkpoint, or its fork, or leave the trunk as it was initialised."""
        if resumed is not None and resumed["state"]:
            arm.load(ArmState.from_dict(resumed["state"]))
        elif branch is None:
            seed_everything_global(self.study.seed)
        elif not arm.load(ArmState.from_dict(self._forked(branch)["state"])):
            self.journal.warn(
                f"arm {arm.name!r} starts with a fresh optimizer state: its optimizer is of another class"
            )

    # --- forks ---------------------------------------------------------------------------------------------------

    def _fork(self, branch: Branch, firing: Firing, state: ArmState) -> None:
        content = {"state": state.to_dict(), "value": firing.value, "threshold": firing.threshold}
        content["quantity"] = firing.quantity
        self.checkpoints.save_fork(branch.name, {**content, "reason": firing.reason, "study": self.continuity.mark})
        if branch.name not in self.queue:
            self.queue.append(branch.name)
        when = f"step {state.step}, effective time {state.time:.6g}"
        self.journal.event(
            "fork",
            f"{branch.name} forks from {branch.parent} at {when}: {firing.reason}",
            arm=branch.name,
            parent=branch.parent,
            step=state.step,
        )

    def _forked(self, branch: Branch) -> dict[str, Any]:
        content = self.checkpoints.fork(branch.name)
        self.continuity.check_own(content, f"the fork of {branch.name!r}")
        return content

    def _not_started(self, arm: Arm) -> None:
        """Put on record every branch that this arm's end leaves without a start, and those that hang on them."""
        for branch in arm.branches:
            if branch.name in arm.triggers:
                self._record_not_started(
                    branch, f"{branch.use} did not fire: {branch.trigger.unfired(arm.triggers[branch.name])}"
                )

    def _record_not_started(self, branch: Branch, reason: str) -> None:
        if branch.name not in self.writer.arms:
            attributes = {"parent": branch.parent, "state": "not started", "end_reason": reason}
            self.writer.add_arm(
                branch.name, {**attributes, "fork_step": 0, "fork_time": 0.0, "steps": 0, "seconds": 0.0}
            )
        self.done[branch.name] = "not started"
        self.journal.warn(f"branch {branch.name!r} was not started: {reason}")
        for child in self.study.branches:
            if child.parent == branch.name:
                self._record_not_started(child, f"its parent {branch.name!r} was not started")

    # --- trace ---------------------------------------------------------------------------------------------------

    def _open_in_trace(self, name: str, study: Study, branch: Branch | None, step: int) -> None:
        """Add the arm, or, when resuming, drop its rows from `step` on: they are measured again, bit for bit."""
        if name in self.writer.arms:
            self.continuity.check_rows(name, study, step)
            self.writer.truncate(name, step)
        else:
            self.writer.add_arm(name, arm_attributes(study, branch, self.checkpoints.fork))
            for entry in study.probes:
                self.writer.add_probe(name, entry.label, self.channels[name][entry.label], probe_attributes(entry))
        self.writer.set_arm(name, state="running", end_reason="")
        self.journal.event("arm", f"{name} starts at step {step}", arm=name, step=step)

    def _close_in_trace(self, arm: Arm, ending: Ending) -> None:
        name = arm.name
        write_costs(self.writer, name, self.ledger)
        self.writer.set_arm(name, state=ending.state, end_reason=ending.reason, steps=arm.trainer.step)
        if ending.state != "interrupted":
            self.done[name] = ending.state
            self._not_started(arm)
            self.journal.event(
                "arm ended",
                f"{name} {ending.state}: {ending.reason}",
                "warning" if ending.state == "diverged" else "info",
                arm=name,
                step=arm.trainer.step,
            )
        self._flush()  # before a checkpoint that never comes back to this arm
        if ending.state != "interrupted" and self.queue:
            self._save({"arm": self.queue[0], "queue": self.queue[1:], "state": None, "costs": {}})

    def _arm_failed(self, name: str, error: BaseException) -> None:
        """Leave the trace readable and say why, whatever happened."""
        with suppress(StudyrunError):  # the disk may be what failed; the error itself is on its way up
            state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            self.writer.set_arm(name, state=state, end_reason=str(error) or type(error).__name__)
            self._flush()

    # --- checkpoints and status ----------------------------------------------------------------------------------

    def _maybe_checkpoint(self, step: int, state: Callable[[], ArmState]) -> None:
        plan = self.study.checkpoints
        kept = bool(plan.keep) and step % (plan.keep or 1) == 0
        due = plan.every is not None and step % plan.every == 0
        late = monotonic() - self._last_saved >= plan.seconds
        if not (kept or due or late or self.stop.requested or step == self._at_start):
            return
        self._at_start = None
        write_costs(self.writer, self.current, self.ledger)
        self.writer.set_arm(self.current, steps=step)
        self._flush()
        content = {"arm": self.current, "queue": self.queue, "state": state().to_dict(), "costs": self.ledger.to_dict()}
        self._save(content)
        if kept:
            self.checkpoints.keep(self.current, step, self._whole(content))

    def _save(self, content: dict[str, Any]) -> None:
        self.sources.add_to(self.folder)
        self.checkpoints.save(self._whole(content))
        self._last_saved = monotonic()

    def _whole(self, content: dict[str, Any]) -> dict[str, Any]:
        return {**content, "done": self.done, "study": self.continuity.mark}

    def _flush(self) -> None:
        with self.stop.held():
            self.writer.flush()

    def _update(self, step: int, fraction: float, note: str) -> None:
        self.progress.update(self.current, step, fraction, note)
        if self.writer.buffered_bytes > MOST_BUFFERED:
            self._flush()
        if monotonic() - self._last_status > SECONDS_BETWEEN_STATUS:
            self._last_status = monotonic()
            self._flush()
            self.journal.set_status(state="running", arm=self.current, step=step, fraction=fraction)

    def _finish(self, state: str) -> RunResult:
        self.sources.add_to(self.folder)
        write_manifest(self.folder, state, self.journal.status["started"])
        self.journal.set_status(state=state, arms=self.done)
        self.journal.event("run ended", state=state)
        return RunResult(self.folder, state, dict(self.done))
