"""The training state at one step, as probes see it; what they share is computed once, on first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from studyrun.component import (
    Carry,
    EigenpairRequest,
    Firing,
    Moment,
    OperatorKind,
    Split,
    SplitName,
    Statistics,
    Trigger,
)
from studyrun.curvature import (
    Eigenpairs,
    FisherOperator,
    GaussNewtonOperator,
    HessianOperator,
    OperatorOverExamples,
    SymmetricOperator,
    flatten,
    group_gradients,
    top_eigenpairs,
)
from studyrun.engine.ledger import Ledger
from studyrun.engine.measuring_chunks import MeasuringChunks
from studyrun.engine.passes import Pass, forward_pass, outputs_pass, training_pass
from studyrun.engine.problem import Problem
from studyrun.engine.random_state import forked, seeded
from studyrun.errors import ProbeError

if TYPE_CHECKING:
    from studyrun.component import Context

T = TypeVar("T")


class LiveSnapshot:
    """Implements the contract `studyrun.component.Snapshot` on the live model. What probes share they get in copies.

    `spectral` holds what the last eigenpair solves left to start from, by statistics; after a solve here, the new one.
    `states` is the torch optimizer's own state by parameter. `moment` is what a probe's trigger is shown.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        step: int,
        time: float,
        taken: Pass | None,
        spectral: Mapping[str, Carry],
        requests: Mapping[str, EigenpairRequest],
        states: Mapping[Tensor, Mapping[str, Any]],
        ledger: Ledger,
        chunks: MeasuringChunks | None = None,
    ) -> None:
        self.problem, self.step, self.time, self.spectral = problem, step, time, spectral
        self.moment: Moment | None = None
        self._requests, self._states, self._ledger = requests, states, ledger
        self.chunks = chunks or MeasuringChunks(problem.study.chunk_size)
        self._taken = taken
        self._known: dict[str, object] = {}
        self._operators: dict[tuple[str, str | None, str, int], OperatorOverExamples[Any]] = {}
        self._eigenpairs: dict[str, tuple[EigenpairRequest, Eigenpairs]] = {}

    @property
    def context(self) -> Context:
        """What stands for the whole arm."""
        return self.problem

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """Views of the parameters, without gradient."""
        return {name: parameter.detach() for name, parameter in self.problem.named_tensors.items()}

    def generator(self, purpose: str) -> torch.Generator:
        """A fresh CPU generator for this step and purpose."""
        return seeded(self.problem.study.seed.probe, "probe", purpose, self.step)

    def _once(self, account: str, compute: Callable[[], T]) -> T:
        """What is computed on first use, under random numbers that do not depend on which probe asked first."""

        def billed() -> None:
            with self._ledger.bill(account), self._drawing(account):
                self._known[account] = compute()

        if account not in self._known:
            self.chunks.share(account, billed)
        return self._known[account]  # type: ignore[return-value]

    def _drawing(self, account: str) -> AbstractContextManager[object]:
        if not self.problem.draws:
            return nullcontext()
        return forked(self.problem.study.seed.probe, "shared", account, self.step, device=self.problem.device)

    @property
    def _pass(self) -> Pass:
        """The full-batch pass: the trainer's own under full-batch optimizers, otherwise made here on first use."""
        return self._taken or self._once("full gradient", self._own_pass)

    def _own_pass(self) -> Pass:
        """A full pass that writes to no buffer: one put back afterwards would look touched to the guard."""
        problem, train = self.problem, self.problem.data.train
        parameters = tuple(problem.named_tensors.values())
        return training_pass(problem, train, lambda inputs: problem.forward(parameters, inputs), self.chunk_size)

    def _evaluated(self, split: SplitName) -> tuple[Tensor, Tensor | None]:
        examples = self.problem.split(split)
        return self._once(f"{split} loss", lambda: forward_pass(self.problem, examples, self.chunk_size))

    def outputs(self, inputs: Tensor) -> Tensor:
        """The outputs (n, o) on any inputs, in evaluation mode, without gradient."""
        return outputs_pass(self.problem, inputs, self.chunk_size)

    def losses(self, split: SplitName = "train") -> Tensor:
        """The loss of each example (n,): those of the step's own full pass where it made one, no probe's."""
        return (
            self._taken.losses if split == "train" and self._taken is not None else self._evaluated(split)[0]
        ).clone()

    def correct(self, split: SplitName = "train") -> Tensor | None:
        """Which examples are classified rightly, bool (n,), or None."""
        taken = self._taken if split == "train" else None
        correct = taken.correct if taken is not None else self._evaluated(split)[1]
        return None if correct is None else correct.clone()

    @property
    def train_loss(self) -> float:
        """The mean training loss."""
        return self._taken.mean if self._taken is not None else float(self._evaluated("train")[0].double().mean())

    @property
    def gradient(self) -> Tensor:
        """The gradient of the training loss, (p,)."""
        return flatten(self._pass.gradient)

    @property
    def group_gradients(self) -> Tensor:
        """The gradient of each group's mean loss, (g, p)."""
        return self._once("group gradients", self._group_gradients).clone()

    def _group_gradients(self) -> Tensor:
        groups, train = self.problem.groups, self.problem.data.train
        assert self.problem.grouping is not None
        members = [self.problem.grouping.members[name] for name in groups]
        return group_gradients(
            self.per_example,
            tuple(self.problem.named_tensors.values()),
            train.inputs,
            train.targets,
            members,
            chunk_size=self.chunk_size,
        )

    def forward(self, parameters: Sequence[Tensor], inputs: Tensor, *, statistics: Statistics = "train") -> Tensor:
        """The outputs (n, o), differentiable in `parameters` and `inputs`."""
        return self.problem.forward(parameters, inputs, statistics=statistics)

    def per_example(
        self, parameters: Sequence[Tensor], inputs: Tensor, targets: Tensor, *, statistics: Statistics = "train"
    ) -> Tensor:
        """The losses (n,) of any examples, differentiable in `parameters`."""
        return self.problem.per_example(parameters, inputs, targets, statistics=statistics)

    @property
    def chunk_size(self) -> int:
        """How many examples may pass through the model at a time in what is measured now."""
        return self.chunks.size

    @property
    def hessian(self) -> SymmetricOperator:
        """The Hessian of the training loss."""
        return self.operator("hessian")

    def operator(
        self, kind: OperatorKind, *, group: str | None = None, statistics: Statistics = "train"
    ) -> SymmetricOperator:
        """The operator, its graphs shared by all probes of this step."""
        question = (kind, group, statistics)
        known = (*question, self.chunk_size)
        if known not in self._operators:
            with self._ledger.bill("curvature graph"):
                self._operators[known] = self._operator(kind, group, statistics)
            self.problem.deterministic.add(question)
        return self._operators[known]

    def _examples(self, group: str | None) -> Split:
        train, grouping = self.problem.data.train, self.problem.grouping
        if group is None:
            return train
        if group not in self.problem.groups or grouping is None:
            raise ProbeError(f"there is no group {group!r} here; there are {', '.join(self.problem.groups)}")
        return train.take(grouping.members[group])

    def _operator(self, kind: OperatorKind, group: str | None, statistics: Statistics) -> OperatorOverExamples[Any]:
        problem, examples = self.problem, self._examples(group)
        last = (tuple(problem.named_tensors.values()), examples.inputs, examples.targets, self.chunk_size)
        check, budget = (kind, group, statistics) not in problem.deterministic, self.chunks.graph_bytes
        if kind == "gauss_newton":
            forward = partial(problem.forward, statistics=statistics)
            loss = problem.loss.per_example
            return GaussNewtonOperator(forward, loss, *last, graph_bytes=budget, check_deterministic=check)
        losses = partial(problem.per_example, statistics=statistics)
        if kind == "fisher":
            return FisherOperator(losses, *last, graph_bytes=budget, check_deterministic=check)
        same = group is None and statistics == "train" and self.chunk_size == self.chunks.largest
        graph = self._taken.graph if self._taken is not None and same else None
        return HessianOperator(losses, *last, graph_bytes=budget, check_deterministic=check, graph=graph)

    def eigenpairs(
        self,
        k: int,
        tolerance: float,
        *,
        statistics: Statistics = "train",
        above: float | None = None,
        most: int | None = None,
    ) -> Eigenpairs:
        """The largest eigenpairs, from one solve that serves every probe due at this step."""
        asked = EigenpairRequest(k, tolerance, statistics=statistics, above=above, most=most)
        solved = self._eigenpairs.get(statistics)
        if solved is None or not solved[0].serves(asked):
            announced = self._requests.get(statistics)
            request = replace(announced.joint(asked), exploration=announced.exploration) if announced else asked
            self.chunks.share("eigenpairs", lambda: self._solve(request))
        pairs = self._eigenpairs[statistics][1]
        found = pairs.first(asked.wanted(pairs.values))
        return replace(found, values=found.values.clone(), vectors=found.vectors.clone())

    def _solve(self, request: EigenpairRequest) -> None:
        hessian = self.operator("hessian", statistics=request.statistics)
        k, last = min(request.k, self.problem.parameters), self.spectral.get(request.statistics)
        with self._ledger.bill("eigenpairs"):
            solved, carry = self._follow(hessian, k, request, last, "eigenpairs")
        self._ledger.products["eigenpairs"] += solved.products
        self.spectral = {**self.spectral, request.statistics: carry}
        self._eigenpairs[request.statistics] = (request, solved)

    def follow(
        self, operator: SymmetricOperator, k: int, tolerance: float, exploration: float, carry: Carry, purpose: str
    ) -> tuple[Eigenpairs, Carry]:
        """The largest eigenpairs of any operator, from where the last solve left off."""
        return self._follow(operator, k, EigenpairRequest(k, tolerance, exploration), carry, purpose)

    def _follow(
        self, operator: SymmetricOperator, k: int, request: EigenpairRequest, carry: Carry, purpose: str
    ) -> tuple[Eigenpairs, Carry]:
        since = self.step - carry["step"] if carry else 0
        solved = top_eigenpairs(
            operator,
            k,
            tolerance=request.tolerance,
            start=carry["warm"] if carry else None,
            generator=self.generator(purpose),
            exploration=1 - (1 - request.exploration) ** since if carry else 1.0,
            above=request.above,
            most=request.most,
        )
        return solved, {"warm": solved.warm, "step": self.step}

    @property
    def preconditioner(self) -> Tensor:
        """The diagonal of the optimizer's P, (p,)."""
        return self._once("preconditioner", self._preconditioner).clone()

    def _preconditioner(self) -> Tensor:
        optimizer, diagonal = self.problem.optimizer, []
        for parameter in self.problem.named_tensors.values():
            own = torch.as_tensor(optimizer.preconditioner(self._states.get(parameter, {})))
            diagonal.append(own.to(parameter).detach().expand_as(parameter))
        return flatten(diagonal)

    def firing(self, trigger: Trigger, carry: Carry) -> tuple[Firing | None, Carry]:
        """Ask a trigger that a probe holds."""
        assert self.moment is not None, "the arm that measures sets it"
        return trigger.check(self.moment, carry)

    def free(self) -> None:
        """Free what can be made again: the operators and the graphs they keep, that of the step's own pass included."""
        for operator in self._operators.values():
            operator.release()
        self._operators.clear()
        if self._taken is not None:
            self._taken.graph = None

    def release(self) -> None:
        """Free what this step computed."""
        self.free()
        self._taken = None
        self._known.clear()
