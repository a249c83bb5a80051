"""Branches that a run is given once it has begun: where they fork, found from the states that were kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from studyrun.component import Carry, Firing
from studyrun.engine import checkpoint
from studyrun.engine.arm import Arm
from studyrun.engine.checkpoint_folder import end_of, kept_steps
from studyrun.engine.events import Progress
from studyrun.engine.ledger import Ledger
from studyrun.engine.prepare import Prepared, study_of
from studyrun.engine.random_state import seed_everything_global
from studyrun.engine.recorder import Recorder
from studyrun.engine.signals import StopRequest
from studyrun.engine.state import ArmState
from studyrun.engine.trainer import Trainer
from studyrun.errors import InterruptedRunError, RunFolderError
from studyrun.study.schema import TRUNK, Branch

Fork = tuple[Firing, ArmState]


@dataclass
class LateBranches:
    """Looks for forks in what an arm has been through. Nothing is written.

    A trigger is asked at each state of the parent that there is, in order: its first, those kept for good, and its
    last. From the one before the first at which it fires, the parent is run again, unrecorded, and the trigger asked at
    every step. So a fork is at the very step at which the branch would have started, had it stood in the study before,
    if only its condition, once met, held until the next kept step.
    """

    prepared: Prepared
    folder: Path
    mark: str
    progress: Progress
    stop: StopRequest
    current: Mapping[str, Any]
    """The checkpoint of the arm that is not at its end, which is that arm's last state."""

    @cached_property
    def _first(self) -> ArmState:
        """The trunk's first state, to be asked for before anything is trained."""
        seed_everything_global(self.prepared.study.seed)
        trainer = Trainer(self.prepared.problem)
        trainer.begin()
        return trainer.save()

    def fork(self, branch: Branch) -> Fork | None:
        """Why and from which state a branch forks, None if its trigger fires at none of the parent's states."""
        before, seeker = self._first, _Seeker(self, branch)
        earlier: dict[str, Carry] = {}
        seen = earlier
        for state in self._states(branch.parent):
            seeker.stand(state, seen)
            found = seeker.look()
            if found is not None:
                return found if not seen else seeker.run_from(before, earlier, state.step)
            before, earlier, seen = state, seen, seeker.seen
        return None

    def steps(self, arm: str) -> list[int]:
        """The steps of an arm of which there is a state."""
        return [state.step for state in self._states(arm)]

    def _states(self, arm: str) -> Iterator[ArmState]:
        seen = -1
        for content in self._contents(arm):
            if not isinstance(content, ArmState) and content.get("study", self.mark) != self.mark:
                raise RunFolderError(f"{self.folder}: a state of {arm!r} was written by a run of another study")
            state = content if isinstance(content, ArmState) else ArmState.from_dict(content["state"])
            if state.step > seen:
                seen = state.step
                yield state

    def _contents(self, arm: str) -> Iterator[Mapping[str, Any] | ArmState]:
        if arm == TRUNK:
            yield self._first
        else:
            folder = self.folder / "checkpoints"
            yield checkpoint.load_either(folder / f"fork-{arm}.pt", folder / f"fork-{arm}.copy.pt")[0]
        for path in kept_steps(self.folder, arm).values():
            yield checkpoint.load(path)
        if self.current.get("arm") == arm and self.current.get("state"):
            yield self.current
        elif end_of(self.folder, arm).is_file():
            yield checkpoint.load(end_of(self.folder, arm))


class _Seeker:
    """The parent of one branch, at whatever state it is put."""

    def __init__(self, late: LateBranches, branch: Branch) -> None:
        self._late, self._branch, self._found = late, branch, list[Fork]()
        study, problem = study_of(late.prepared.study, branch.parent), late.prepared.problem
        self._arm = Arm(
            name=branch.parent,
            trainer=Trainer(problem.with_study(study)),
            probes=study.probes,
            channels=late.prepared.arm_channels[branch.parent],
            branches=[branch],
            stop=study.stop,
            recorder=Recorder(None, branch.parent, late.prepared.arm_channels[branch.parent], lambda text: None),
            ledger=Ledger(),
            fork=lambda branch, firing, state: self._found.append((firing, state)),
            checkpoint=lambda step, state: None,
            measured=lambda readings, state: None,
            stopping=lambda: late.stop.requested,
            update=self._tell,
            context_of=lambda arm: problem.with_study(study_of(late.prepared.study, arm)),
        )

    @property
    def seen(self) -> dict[str, Carry]:
        """What the trigger has seen, by the branch's name."""
        return {self._branch.name: self._arm.triggers[self._branch.name]}

    def stand(self, state: ArmState, seen: Mapping[str, Carry]) -> None:
        """Stand at a state, the trigger having seen this, or nothing yet."""
        self._arm.load(replace(state, triggers={**state.triggers, **seen}))
        self._arm.start()

    def look(self) -> Fork | None:
        """Ask the trigger at this state."""
        self._arm.trainer.begin()
        self._arm.look()
        self._heed()
        return self._found[0] if self._found else None

    def run_from(self, state: ArmState, seen: Mapping[str, Carry], until: int) -> Fork:
        """Run from a state on to the step at which the trigger fires, `until` at the latest.

        Raises `RunFolderError` if it does not, on a machine that rounds otherwise.
        """
        self._found.clear()
        self.stand(state, seen)
        while not self._found and self._arm.trainer.step <= until and self._arm.step() is None:
            self._heed()
        if not self._found:
            arm, name = self._branch.parent, self._branch.name
            raise RunFolderError(
                f"branch {name!r} cannot start: its trigger fires at step {until} of {arm!r} as it was kept, and not "
                f"when that arm is run again from step {state.step}: this machine comes to other numbers"
            )
        return self._found[0]

    def _heed(self) -> None:
        if self._late.stop.requested:
            raise InterruptedRunError("interrupted before the run went on; nothing was changed")

    def _tell(self, step: int, fraction: float, note: str) -> None:
        self._late.progress.update(self._branch.parent, step, fraction, f"where {self._branch.name} forks")
