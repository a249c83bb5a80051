"""The step: which examples, which gradient, where the parameters go. It knows nothing of probes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite

import torch
from torch import Tensor

from studyrun.component import Split
from studyrun.curvature.memory import ran_out_of_memory
from studyrun.engine import random_state
from studyrun.engine.hidden_state import HiddenState, State
from studyrun.engine.passes import Pass, differentiable_pass, training_pass
from studyrun.engine.plain import copied
from studyrun.engine.problem import Problem
from studyrun.engine.random_state import forked, seeded
from studyrun.engine.reachable import Reachable
from studyrun.engine.shortage import training_explained
from studyrun.engine.slots import Slots
from studyrun.engine.state import ArmState
from studyrun.stopping import heed


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a step finds and a forward pass may change: buffers, generators, and what code keeps by itself."""

    buffers: dict[str, Tensor]
    random: random_state.GlobalState
    hidden: dict[str, State]


class Trainer:
    """The live model and optimizer of one arm, one step at a time.

    `begin` notes what a forward pass may change, `evaluate` computes the step's gradient, `advance` moves.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem, self.step, self.time = problem, 0, 0.0
        with forked(problem.study.seed.init, "optimizer", device=problem.device):
            self.optimizer = problem.optimizer.build(problem.named_tensors.values())
        who = f"optimizer {problem.study.names.get('optimizer', '')!r}"
        root = {who: self.optimizer}
        self._hidden = {**problem.hidden, "optimizer": HiddenState(root, problem.tensors)}
        found = Reachable(root, ()).optimizers
        self._slots = Slots(found.pop(who), who)
        self._slots.check_built()
        self._inner = {path: Slots(optimizer, path) for path, optimizer in found.items()}
        self._taken: Pass | None = None
        self._begun: Beginning | None = None
        self._order: tuple[int, Tensor] | None = None
        self._alike: bool | None = None

    @property
    def full_batch(self) -> bool:
        """Whether every step uses the whole training set."""
        size = self.problem.optimizer.examples_per_step
        return size is None or size >= len(self.problem.data.train)

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass over the training set."""
        size = self.problem.optimizer.examples_per_step or len(self.problem.data.train)
        return -(-len(self.problem.data.train) // size)

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def begin(self) -> None:
        """Note what this step finds. Raises `ComponentError` where something changed that cannot be written down."""
        self.problem.check_parameters()
        self._begun = Beginning(
            copied(self.problem.named_buffers),
            random_state.capture(self.problem.device),
            {name: hidden.now() for name, hidden in self._hidden.items()},
        )

    def evaluate(self, curvature: bool = False) -> Pass:
        """Compute this step's losses and gradient: over the full training set, or over its mini-batch.

        Where `curvature` is about to be measured, the pass is made so that its gradient can be differentiated again,
        which saves building the graph a second time: provided that this changes no bit of the gradient, which the
        first passes of an arm are made both ways to see (fused attention, for one, has no second derivative).
        """
        train = self.problem.data.train
        together = len(self.problem.chunks(len(train))) == 1
        shares = curvature and self.full_batch and self._alike is not False and together
        self._taken = self._shared() if shares and self._alike else None
        if self._taken is None:
            with training_explained(self.problem, self.step):
                batch = train if self.full_batch else train.take(self._batch())
                self._taken = training_pass(self.problem, batch)
            if shares and self._alike is None:
                self._taken = self._compared(self._taken)
        return self._taken

    def _shared(self) -> Pass | None:
        """The pass with its graph; None where that does not fit in memory, and from then on it is not tried again."""
        try:
            return differentiable_pass(self.problem, self.problem.data.train)
        except Exception as error:
            heed()
            if not ran_out_of_memory(error):
                raise
        self._alike = False
        self._rewind()
        return None

    def _rewind(self) -> None:
        """Put back whatever a forward pass may have changed since `begin`."""
        begun = self._known_beginning
        self.problem.set_buffers(begun.buffers)
        random_state.restore(begun.random, self.problem.device)
        for name, state in begun.hidden.items():
            self._hidden[name].put(state)

    @property
    def _known_beginning(self) -> Beginning:
        assert self._begun is not None, "begin comes first"
        return self._begun

    def _compared(self, taken: Pass) -> Pass:
        """The pass with a graph from a second one, if they agree to the bit; no random number is used up."""
        parameters = tuple(self.problem.named_tensors.values())
        state, hidden = random_state.capture(self.problem.device), self.problem.hidden["training"]
        kept = hidden.now()
        try:
            again = differentiable_pass(
                self.problem, self.problem.data.train, lambda inputs: self.problem.forward(parameters, inputs)
            )
        except Exception as error:
            heed()
            if not ran_out_of_memory(error):
                raise
            self._alike = False
            return taken
        finally:
            random_state.restore(state, self.problem.device)
            hidden.put(kept)
        pairs = zip((taken.losses, *taken.gradient), (again.losses, *again.gradient), strict=True)
        self._alike = all(torch.equal(one, other) for one, other in pairs)
        return replace(taken, graph=again.graph) if self._alike else taken

    def _batch(self) -> Tensor:
        """The indices of this step's mini-batch. The order is a function of seed and epoch, so no cursor is needed."""
        size = self.problem.optimizer.examples_per_step
        assert size is not None
        epoch, place = divmod(self.step, self.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            generator = seeded(self.problem.study.seed.order, "order", epoch)
            order = torch.randperm(len(self.problem.data.train), generator=generator)
            self._order = (epoch, order.to(self.problem.device))
        return self._order[1][place * size : (place + 1) * size]

    @property
    def full_pass(self) -> Pass | None:
        """This step's pass, where it went over the full training set."""
        return self._taken if self.full_batch else None

    def overflown(self) -> str:
        """What of this step's loss, parameters and gradient is no finite number, in words; nothing where all are.

        A loss may stay finite while others do not: behind a saturated unit, or where only its derivative overflows.
        """
        assert self._taken is not None, "evaluate comes before overflown"
        if not isfinite(self._taken.mean):
            return f"the training loss is {self._taken.mean}"
        if self.lr > torch.finfo(self.problem.dtype).max:
            return f"the learning rate {self.lr:g} is beyond the range of {self.problem.study.precision}"
        parameters, gradient = self.problem.named_tensors, self._taken.gradient
        with torch.no_grad():
            total = torch.stack([tensor.sum() for tensor in (*parameters.values(), *gradient)]).sum()
        if isfinite(float(total)):
            return ""  # no sum over an infinite value is finite; one over finite values may overflow, though
        for what, tensors in (("parameter", parameters.values()), ("the gradient of", gradient)):
            for name, tensor in zip(parameters, tensors, strict=True):
                if len(wrong := tensor[~tensor.isfinite()]):
                    return f"{what} {name} holds {float(wrong[0])}"
        return ""

    def advance(self) -> None:
        """Take the step with the gradient of `evaluate`."""
        assert self._taken is not None, "evaluate comes before advance"
        for parameter, gradient in zip(self.problem.named_tensors.values(), self._taken.gradient, strict=True):
            parameter.grad = gradient
        self.time += self.lr
        with training_explained(self.problem, self.step):
            self.optimizer.step()
        self._slots.check_rates(self.step)
        self.step += 1
        self._taken = None

    def try_out(self, examples: Split) -> None:
        """Take a step with the gradient of these examples alone, unless it overflows, which only ends an arm."""
        self._taken = training_pass(self.problem, examples)
        if not self.overflown():
            self.advance()

    def watched(self) -> dict[str, Tensor]:
        """Every tensor that a measurement could spoil: parameters, buffers, optimizer state, gradient, data."""
        train, test = self.problem.data.train, self.problem.data.test
        found = {f"parameter {name}": parameter.detach() for name, parameter in self.problem.named_tensors.items()}
        found |= {f"buffer {name}": buffer for name, buffer in self.problem.named_buffers.items()}
        for index, state in self._slots.live().items():
            found |= {f"optimizer {key} {index}": value for key, value in state.items() if isinstance(value, Tensor)}
        if self._taken is not None:
            found |= {f"gradient {index}": gradient for index, gradient in enumerate(self._taken.gradient)}
            found["training losses"] = self._taken.losses
        for name, split in (("train", train), ("test", test)):
            if split is not None:
                found |= {f"{name} inputs": split.inputs, f"{name} targets": split.targets}
        return found

    def save(self) -> ArmState:
        """The state as this step began, in copies."""
        begun, slots = self._known_beginning, self._slots.save()
        changes = {name: hidden.changes(begun.hidden[name]) for name, hidden in self._hidden.items()}
        return ArmState(
            step=self.step,
            time=self.time,
            parameters=copied({n: p.detach() for n, p in self.problem.named_tensors.items()}),
            buffers=copied(begun.buffers),
            optimizer=slots["state"],
            optimizer_class=type(self.optimizer).__name__,
            random=random_state.to_plain(begun.random),
            options=slots["groups"],
            hidden={name: changed for name, changed in changes.items() if changed},
            inner={path: one.save() for path, one in self._inner.items()},
        )

    def load(self, state: ArmState) -> bool:
        """Take over a state; returns False if the optimizer's part was left out because its class has changed.

        Hyperparameters stay those of this arm's own optimizer: they are what a branch sets.
        """
        self.step, self.time = state.step, state.time
        with torch.no_grad():
            for name, parameter in self.problem.named_tensors.items():
                parameter.copy_(state.parameters[name])
        self.problem.set_buffers(state.buffers)
        random_state.restore(random_state.from_plain(state.random), self.problem.device)
        fits = state.optimizer_class == type(self.optimizer).__name__
        if fits:
            self._slots.load(state.optimizer, state.options)
            for path, slots in state.inner.items():
                self._inner[path].load(slots["state"], slots["groups"])
        for name, hidden in self._hidden.items():
            if fits or name != "optimizer":
                hidden.put_changes(state.hidden.get(name, {}))
        return fits
