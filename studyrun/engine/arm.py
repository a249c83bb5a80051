"""One arm: step, measure, ask the triggers, end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from studyrun.component import Carry, Context, EigenpairRequest, Firing, Trigger
from studyrun.engine.guard import MarkGuard
from studyrun.engine.ledger import Ledger
from studyrun.engine.measuring import Readings, due_at, in_order, joint_requests, measure, own_carry
from studyrun.engine.measuring_chunks import MeasuringChunks
from studyrun.engine.plain import copied
from studyrun.engine.reachable import is_peoples
from studyrun.engine.recorder import Recorder
from studyrun.engine.shortage import Shortage
from studyrun.engine.snapshot import LiveSnapshot
from studyrun.engine.state import ArmState
from studyrun.engine.trainer import Trainer
from studyrun.stopping import heed
from studyrun.study.schema import Branch, ProbeEntry, Stop
from studyrun.trace.channel import Channel

STOP = "stop.when"  # beside the branches' names, none of which can have a dot
ROUNDING = 1e-9  # Σ η is a sum of floats: an arm must not take a step more because it rounds down


@dataclass(frozen=True, slots=True)
class Ending:
    """How an arm ended: complete, diverged or interrupted, and why in words."""

    state: str
    reason: str


def _of_branch(branch: Branch) -> str:
    return f"the trigger of branch {branch.name!r}"


class LiveMoment:
    """Implements the contract `studyrun.component.Moment`."""

    def __init__(
        self,
        snapshot: LiveSnapshot,
        readings: Readings,
        channels: Mapping[str, tuple[Channel, ...]],
        context: Context,
        warn: Callable[[str], None],
    ) -> None:
        self.snapshot, self.readings, self._channels, self.context = snapshot, readings, channels, context
        self.step, self.time, self._warn = snapshot.step, snapshot.time, warn

    @property
    def train_loss(self) -> float:
        """The mean training loss."""
        return Shortage(self.snapshot, self._warn).patiently(lambda: self.snapshot.train_loss)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the probes."""
        return tuple(self._channels)

    def reading(self, label: str) -> Mapping[str, np.ndarray] | None:
        """What the probe recorded at this step, or None."""
        return self.readings.get(label)

    def channels(self, label: str) -> Mapping[str, Channel]:
        """The probe's channels by name."""
        return {channel.name: channel for channel in self._channels[label]}


@dataclass
class Arm:
    """One training trajectory, from a state to its end.

    `fork` is called with a branch, why it starts, and the state it starts from; `checkpoint` at the beginning of each
    step, with a function that gives the state; `measured` after its probes, with the readings and what gives the
    training's part of the state as the step began. `stopping` says whether somebody asked the run to stop. `context_of`
    gives the context of any arm by its name.
    """

    name: str
    trainer: Trainer
    probes: Sequence[ProbeEntry]
    channels: Mapping[str, tuple[Channel, ...]]
    branches: Sequence[Branch]
    stop: Stop
    recorder: Recorder
    ledger: Ledger
    fork: Callable[[Branch, Firing, ArmState], None]
    checkpoint: Callable[[int, Callable[[], ArmState]], None]
    measured: Callable[[Readings, Callable[[], ArmState]], None]
    stopping: Callable[[], bool]
    update: Callable[[int, float, str], None]
    context_of: Callable[[str], Context]
    carries: dict[str, Carry] = field(default_factory=dict)
    triggers: dict[str, Carry] = field(default_factory=dict)
    spectral: Mapping[str, Carry] = field(default_factory=dict)
    smaller_chunks: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.probes = in_order(self.probes)
        self.guard = MarkGuard(self.trainer.problem)
        self.reached_by = self.name
        self.last: Callable[[], ArmState] = self.state
        self.costs_before = self.ledger.to_dict()

    def start(self) -> None:
        """Give every probe and trigger its first carry, unless it has one from a parent or a checkpoint."""
        self.guard.tensors = self.trainer.watched()
        for entry in self.probes:
            if entry.label not in self.carries:
                first = partial(entry.probe.start, self.trainer.problem)
                self.carries[entry.label] = self._first_carry(f"probe {entry.label!r}", first)
        for branch in self.branches:
            if branch.name not in self.triggers:
                self.triggers[branch.name] = self._first_carry(_of_branch(branch), branch.trigger.start)
        if self.stop.when is not None and STOP not in self.triggers:
            self.triggers[STOP] = self._first_carry(STOP, self.stop.when.start)

    def _first_carry(self, who: str, start: Callable[[], Carry]) -> Carry:
        with self.guard.around(f"{who}: start", self.trainer.step):
            return own_carry(who, start())

    def load(self, state: ArmState) -> bool:
        """Take over a state; False if the optimizer's part was left out because its class changed."""
        self.carries, self.triggers = dict(state.carries), dict(state.triggers)
        self.spectral, self.smaller_chunks = state.spectral, state.smaller_chunks
        self.reached_by = state.reached_by or self.name
        return self.trainer.load(state)

    def state(self) -> ArmState:
        """The state as this step began, before its probes and triggers."""
        return self._as_it_is()()

    def _as_it_is(self) -> Callable[[], ArmState]:
        """What gives the state as this step began, to whoever asks before the next one does."""
        with_the_rest = partial(
            replace,
            carries=self.carries,
            triggers=self.triggers,
            spectral=self.spectral,
            reached_by=self.reached_by,
            smaller_chunks=self.smaller_chunks,
        )
        return lambda: with_the_rest(self.trainer.save())

    def run(self) -> Ending:
        """Go on to the end."""
        while (ending := self.step()) is None:
            heed()
        return ending

    def step(self) -> Ending | None:
        """Take one step, unless this one is where the arm ends."""
        trainer = self.trainer
        trainer.begin()
        self.last, self.costs_before = self._as_it_is(), self.ledger.to_dict()
        stopping = self.stopping()  # asked once: a request that comes after the checkpoint waits for the next one
        self.checkpoint(trainer.step, self.state)
        if stopping:
            return Ending("interrupted", f"asked to stop at step {trainer.step}")
        ending = self.look()
        if ending is None:
            with self.ledger.bill("training"):
                trainer.advance()
            self.reached_by = self.name
        return ending

    def look(self) -> Ending | None:
        """Measure what is due at this step, ask the triggers, and return the arm's end if it has come to one.

        The arm stays where it is. The step has begun: `trainer.begin` comes before.
        """
        trainer = self.trainer
        due = due_at(self.probes, trainer.step)
        requests = joint_requests(due, trainer.problem)
        with self.ledger.bill("training"):
            # After a shortage nothing is kept in memory that can be made again, with the same bits.
            taken = trainer.evaluate(curvature="train" in requests and not self.smaller_chunks)
            overflown = trainer.overflown()
        if overflown:
            return Ending("diverged", f"{overflown} at step {trainer.step}")
        return self._measure_and_ask(due, requests, taken.mean)

    def _measure_and_ask(
        self, due: Sequence[ProbeEntry], requests: Mapping[str, EigenpairRequest], loss: float
    ) -> Ending | None:
        trainer = self.trainer
        snapshot = LiveSnapshot(
            trainer.problem,
            step=trainer.step,
            time=trainer.time,
            taken=trainer.full_pass,
            spectral=self.spectral,
            requests=requests,
            states=trainer.optimizer.state,
            ledger=self.ledger,
            chunks=MeasuringChunks(trainer.problem.study.chunk_size, self.smaller_chunks),
        )
        self.guard.tensors = trainer.watched() if due or self.triggers else {}
        readings: Readings = {}
        # A branch measures its fork step anew: what a probe freezes there is what it froze in the arm that forked.
        context, warn = self.context_of(self.reached_by), self.recorder.warn
        snapshot.moment = LiveMoment(snapshot, readings, self.channels, context, warn)
        moment = LiveMoment(snapshot, readings, self.channels, trainer.problem, warn)
        carries = measure(due, snapshot, self.carries, self.recorder, self.guard, self.ledger, readings)
        self._ask_branches(moment)
        ending = self._ended(moment)
        self.carries, self.spectral = carries, snapshot.spectral
        self.smaller_chunks = snapshot.chunks.smaller
        self.update(trainer.step, self.fraction(), f"loss {loss:.4g}")
        snapshot.release()
        self.measured(readings, trainer.save)
        return ending

    def _ask_branches(self, moment: LiveMoment) -> None:
        """Fork every branch whose trigger fires. Its state is this step's beginning: carries as they were then."""
        for branch in self.branches:
            if branch.name not in self.triggers:
                continue
            firing, carry = self._asked(_of_branch(branch), branch.trigger, moment, self.triggers[branch.name])
            if firing is None:
                self.triggers = {**self.triggers, branch.name: carry}
                continue
            self.fork(branch, firing, replace(self.state(), triggers=self._inherited(branch)))
            self.triggers = {name: kept for name, kept in self.triggers.items() if name != branch.name}

    def _asked(self, who: str, trigger: Trigger, moment: LiveMoment, carry: Carry) -> tuple[Firing | None, Carry]:
        """Ask a trigger. Somebody's own may draw random numbers or write where it must not, as probes may."""
        if not is_peoples(type(trigger).__module__):
            return trigger.check(moment, carry)
        with self.guard.around(who, moment.step):
            firing, after = trigger.check(moment, copied(carry))
        return firing, own_carry(who, after)

    def _inherited(self, branch: Branch) -> dict[str, Carry]:
        """What `stop.when` has seen so far, for a branch that stops on the same: it must end where this arm does."""
        same = branch.study.stop.when == self.stop.when
        return {name: carry for name, carry in self.triggers.items() if same and name == STOP}

    def _ended(self, moment: LiveMoment) -> Ending | None:
        stop, step, time = self.stop, self.trainer.step, self.trainer.time
        if stop.loss_below is not None and self._loss_known() and moment.train_loss < stop.loss_below:
            return Ending("complete", f"training loss {moment.train_loss:.6g} < {stop.loss_below:.6g}")
        if stop.when is not None:
            firing, carry = self._asked(STOP, stop.when, moment, self.triggers[STOP])
            self.triggers = {**self.triggers, STOP: carry}
            if firing is not None:
                return Ending("complete", firing.reason)
        if stop.steps is not None and step >= stop.steps:
            return Ending("complete", f"step {step} was reached")
        if stop.time is not None and time >= stop.time * (1 - ROUNDING):
            return Ending("complete", f"effective time {time:.6g} was reached")
        return None

    def _loss_known(self) -> bool:
        """Whether the full training loss is looked at now: every step, or once an epoch under mini-batches."""
        return self.trainer.full_batch or self.trainer.step % self.trainer.steps_per_epoch == 0

    def fraction(self) -> float:
        """How far the arm has come, by whichever of its limits is nearest."""
        stop = self.stop
        parts = [
            self.trainer.step / stop.steps if stop.steps else 0.0,
            self.trainer.time / stop.time if stop.time else 0.0,
        ]
        return min(1.0, max(parts))
