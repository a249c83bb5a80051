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
from studyrun.engine.arm_record import arm_attributes, begin_arm, has_begun, note_not_started, write_costs
from studyrun.engine.best import followed
from studyrun.engine.checkpoint_folder import CheckpointFolder
from studyrun.engine.continuing import Continuity
from studyrun.engine.events import Journal, Progress
from studyrun.engine.extending import Extension
from studyrun.engine.forks import Forks
from studyrun.engine.leaving import Leavings
from studyrun.engine.ledger import Ledger
from studyrun.engine.prepare import Prepared, study_of
from studyrun.engine.random_state import seed_everything_global
from studyrun.engine.recorder import Recorder
from studyrun.engine.signals import StopRequest
from studyrun.engine.sources import SourceRecord
from studyrun.engine.state import ArmState
from studyrun.engine.trainer import Trainer
from studyrun.engine.turns import Turns
from studyrun.errors import StudyrunError
from studyrun.stopping import heeding
from studyrun.study.schema import Branch, Study
from studyrun.trace.arm import NOT_STARTED
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
        self.turns = Turns()
        self.stands: dict[str, Any] = {}
        self.ledger = Ledger()
        self.sources = SourceRecord(self.study)
        self.followed = followed(self.study.checkpoints, prepared.channels)
        self._last_saved = monotonic()
        self._last_status = 0.0
        self._at_start: int | None = None

    # --- the queue of arms ---------------------------------------------------------------------------------------

    def run(
        self, writer: TraceWriter, resumed: dict[str, Any] | None = None, extension: Extension | None = None
    ) -> RunResult:
        """Run what is left, arm by arm."""
        self.write_to(writer)
        if resumed is not None:
            self._take_up(resumed)
        if extension is not None:
            self._extend(extension)
        while self.turns.current:
            ending = self._run_arm(self.turns.current, resumed)
            if ending.state == "interrupted":
                return self._finish("interrupted")
            resumed = None
            self.turns.next()
        return self._finish("diverged" if "diverged" in self.turns.done.values() else "complete")

    def write_to(self, writer: TraceWriter) -> None:
        """Let this be the trace that the run is recorded in."""
        self.writer, self.continuity = writer, Continuity(self.study, self.folder, writer)
        self.forks = Forks(self.checkpoints, self.continuity, self.journal)

    def _take_up(self, checkpoint: dict[str, Any]) -> None:
        """Stand where the checkpoint stood. Raises `RunFolderError` if it is not one of this study and this trace."""
        self.continuity.check_checkpoint(checkpoint)
        self.turns.take_up(checkpoint)
        begun = [(label, name) for name, labels in self.writer.arms.items() for label in labels]
        known = {label: self.channels[name][label] for label, name in begun if label in self.channels.get(name, ())}
        for text in self.writer.adopt(known):
            self.journal.warn(text)

    def _extend(self, extension: Extension) -> None:
        """Go on under a study that asks for more: put the arms that go on, and those that are new, into the queue.

        What is written comes in such an order that, killed at any moment, the run can be extended again.
        """
        for arm in extension.again:
            self.turns.wait(arm)
        for branch in self.study.branches:
            if branch.name in extension.forks:
                self._fork(branch, *extension.forks[branch.name])
        if not self.turns.current:
            self.turns.next()
        if self.turns.current:
            content = {key: extension.content.get(key) for key in ("state", "costs", "best")}
            for _ in range(2):  # the one before the latest would say that arms are done which go on
                self._save({**content, **self.turns.to_dict()})
        self.writer.set_study(extension.study)
        self.journal.event("run extended", f"it goes on with {'; '.join(extension.changes)}", changes=extension.changes)

    def _run_arm(self, name: str, resumed: dict[str, Any] | None) -> Ending:
        study = study_of(self.study, name)
        branch = next((b for b in self.study.branches if b.name == name), None)
        arm = self._arm(name, study)
        self._set_first_state(arm, branch, resumed)
        arm.start()
        self._open_in_trace(name, study, branch, arm.trainer.step)
        self._at_start = arm.trainer.step
        try:
            with heeding():
                ending = arm.run()
        except BaseException as error:
            self._arm_failed(name, error)
            raise
        self._close_in_trace(arm, ending)
        return ending

    def _arm(self, name: str, study: Study) -> Arm:
        self.leavings = Leavings(self.checkpoints, name, self.problem, self.continuity.mark, self.followed)
        self.ledger = Ledger()
        return Arm(
            name=name,
            trainer=Trainer(self.problem.with_study(study)),
            probes=study.probes,
            channels=self.channels[name],
            branches=[one for one in self.study.branches if one.parent == name and not self.turns.has_forked(one.name)],
            stop=study.stop,
            recorder=Recorder(self.writer, name, self.channels[name], self.journal.warn),
            ledger=self.ledger,
            fork=self._fork,
            checkpoint=self._maybe_checkpoint,
            measured=self.leavings.measured,
            stopping=lambda: self.stop.requested,
            update=self._update,
            context_of=lambda arm: self.problem.with_study(study_of(self.study, arm)),
        )

    def _set_first_state(self, arm: Arm, branch: Branch | None, resumed: dict[str, Any] | None) -> None:
        """Load the arm's checkpoint, the end that it goes on from, or its fork; or leave the trunk as initialised."""
        content = resumed if resumed is not None and resumed.get("state") else self._ended_before(arm.name)
        if content is not None:
            arm.load(ArmState.from_dict(content["state"]))
            self.ledger = arm.ledger = Ledger.from_dict(content["costs"])
            self.leavings.load(content)
        elif branch is None:
            seed_everything_global(self.study.seed)
        elif not arm.load(ArmState.from_dict(self.forks.load(branch.name)["state"])):
            self.journal.warn(
                f"arm {arm.name!r} starts with a fresh optimizer state: its optimizer is of another class"
            )

    def _ended_before(self, arm: str) -> dict[str, Any] | None:
        """The state that an arm of the queue had ended in, where it is one that goes on."""
        content = self.checkpoints.end(arm)
        if content is not None:
            self.continuity.check_own(content, f"the end of {arm!r}")
        return content

    # --- forks ---------------------------------------------------------------------------------------------------

    def _fork(self, branch: Branch, firing: Firing, state: ArmState) -> None:
        self.forks.save(branch, firing, state)
        self.turns.wait(branch.name)

    def _not_started(self, arm: Arm) -> None:
        """Put on record every branch that this arm's end leaves without a start, and those that hang on them."""
        for branch in arm.branches:
            if branch.name in arm.triggers:
                self._record_not_started(
                    branch, f"{branch.use} did not fire: {branch.trigger.unfired(arm.triggers[branch.name])}"
                )

    def _record_not_started(self, branch: Branch, reason: str) -> None:
        note_not_started(self.writer, branch, reason)
        self.turns.done[branch.name] = NOT_STARTED
        self.journal.warn(f"branch {branch.name!r} was not started: {reason}")
        for child in self.study.branches:
            if child.parent == branch.name:
                self._record_not_started(child, f"its parent {branch.name!r} was not started")

    # --- trace ---------------------------------------------------------------------------------------------------

    def _open_in_trace(self, name: str, study: Study, branch: Branch | None, step: int) -> None:
        """Add the arm, or, when resuming, drop its rows from `step` on: they are measured again, bit for bit."""
        if has_begun(self.writer, name):
            self.continuity.check_rows(name, study, step)
            self.writer.truncate(name, step)
            self.leavings.forget_final()
        else:
            begin_arm(
                self.writer, name, arm_attributes(study, branch, self.forks.load), study.probes, self.channels[name]
            )
        self.writer.set_arm(name, state="running", end_reason="")
        self.journal.event("arm", f"{name} starts at step {step}", arm=name, step=step)

    def _close_in_trace(self, arm: Arm, ending: Ending) -> None:
        name = arm.name
        self.stands = {"arm": name, "step": arm.trainer.step, "fraction": arm.fraction()}
        write_costs(self.writer, name, self.ledger)
        self.writer.set_arm(name, state=ending.state, end_reason=ending.reason, steps=arm.trainer.step)
        self.writer.set_arm(name, **self.leavings.attributes())
        if ending.state != "interrupted":
            self.turns.done[name] = ending.state
            self._not_started(arm)
            self.journal.event(
                "arm ended",
                f"{name} {ending.state}: {ending.reason}",
                "warning" if ending.state == "diverged" else "info",
                arm=name,
                step=arm.trainer.step,
            )
        self._flush()  # before a checkpoint that never comes back to this arm
        if ending.state != "interrupted":
            self.leavings.end(arm.last(), ending.state, ending.reason, arm.costs_before)
        if ending.state != "interrupted" and self.turns.waiting:
            self._save({**self.turns.after(), "state": None, "costs": {}})

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
        if plan.snapshots and step % plan.snapshots == 0:
            self.leavings.snapshot(state())
        if not (kept or due or late or self.stop.requested or step == self._at_start):
            return
        self._at_start = None
        write_costs(self.writer, self.turns.current, self.ledger)
        self.writer.set_arm(self.turns.current, steps=step)
        self._flush()
        content = {**self.turns.to_dict(), "state": state().to_dict()}
        content |= {"costs": self.ledger.to_dict(), "best": self.leavings.to_dict()}
        self._save(content)
        self.leavings.write_best()
        if kept:
            self.checkpoints.keep(self.turns.current, step, self._marked(content))

    def _save(self, content: dict[str, Any]) -> None:
        self.sources.add_to(self.folder)
        self.checkpoints.save(self._marked(content))
        self._last_saved = monotonic()

    def _marked(self, content: dict[str, Any]) -> dict[str, Any]:
        return {**content, "study": self.continuity.mark}

    def _flush(self) -> None:
        with self.stop.held():
            self.writer.flush()

    def _update(self, step: int, fraction: float, note: str) -> None:
        self.progress.update(self.turns.current, step, fraction, note)
        if self.writer.buffered_bytes > MOST_BUFFERED:
            self._flush()
        if monotonic() - self._last_status > SECONDS_BETWEEN_STATUS:
            self._last_status = monotonic()
            self._flush()
            self.journal.set_status(state="running", arm=self.turns.current, step=step, fraction=fraction)

    def _finish(self, state: str) -> RunResult:
        self.sources.add_to(self.folder)
        write_manifest(self.folder, state, self.journal.status["started"])
        self.stands |= {} if state == "interrupted" else {"fraction": 1.0}
        self.journal.set_status(state=state, arms=self.turns.done, **self.stands)
        self.journal.event("run ended", state=state)
        return RunResult(self.folder, state, dict(self.turns.done))
