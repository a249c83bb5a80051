"""The training state at one step, as probes see it; what they share is computed once, on first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from studyrun.component import EigenpairRequest, SplitName
from studyrun.curvature import Eigenpairs, HessianOperator, flatten, group_gradients, top_eigenpairs
from studyrun.engine.ledger import Ledger
from studyrun.engine.passes import Pass, forward_pass, outputs_pass, training_pass
from studyrun.engine.problem import Problem
from studyrun.engine.random_state import seeded

if TYPE_CHECKING:
    from studyrun.component import Context

T = TypeVar("T")


class LiveSnapshot:
    """Implements the contract `studyrun.component.Snapshot` on the live model.

    `spectral` is the block of vectors from the last eigenpair solve, (p, m); after a solve here, the new one.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        step: int,
        time: float,
        taken: Pass | None,
        spectral: Tensor | None,
        request: EigenpairRequest | None,
        ledger: Ledger,
    ) -> None:
        self.problem, self.step, self.time, self.spectral = problem, step, time, spectral
        self._request, self._ledger = request, ledger
        self._known: dict[str, object] = {} if taken is None else {"pass": taken}
        self._in_training_mode = taken is not None
        self._eigenpairs: tuple[EigenpairRequest, Eigenpairs] | None = None

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
        if account not in self._known:
            with self._ledger.bill(account):
                self._known[account] = compute()
        return self._known[account]  # type: ignore[return-value]

    @property
    def _pass(self) -> Pass:
        """The full-batch pass: the trainer's own under full-batch optimizers, otherwise made here on first use."""
        taken = self._known.get("pass")
        return taken if isinstance(taken, Pass) else self._once("full gradient", self._own_pass)

    def _own_pass(self) -> Pass:
        """A full pass that writes to no buffer: one put back afterwards would look touched to the guard."""
        problem = self.problem
        parameters = tuple(problem.named_tensors.values())
        return training_pass(problem, problem.data.train, lambda inputs: problem.forward(parameters, inputs))

    def _evaluated(self, split: SplitName) -> tuple[Tensor, Tensor | None]:
        return self._once(f"{split} loss", lambda: forward_pass(self.problem, self.problem.split(split)))

    def outputs(self, inputs: Tensor) -> Tensor:
        """The outputs (n, o) on any inputs, in evaluation mode, without gradient."""
        return outputs_pass(self.problem, inputs)

    def losses(self, split: SplitName = "train") -> Tensor:
        """The loss of each example (n,): those of the step's own full pass where it made one, no probe's."""
        if split == "train" and self._in_training_mode:
            return self._pass.losses
        return self._evaluated(split)[0]

    def correct(self, split: SplitName = "train") -> Tensor | None:
        """Which examples are classified rightly, bool (n,), or None."""
        if split == "train" and self._in_training_mode:
            return self._pass.correct
        return self._evaluated(split)[1]

    @property
    def train_loss(self) -> float:
        """The mean training loss."""
        if self._in_training_mode:
            return self._pass.mean
        return self._once("mean", lambda: float(self.losses("train").double().mean()))

    @property
    def gradient(self) -> Tensor:
        """The gradient of the training loss, (p,)."""
        return self._once("flat gradient", lambda: flatten(self._pass.gradient))

    @property
    def group_gradients(self) -> Tensor:
        """The gradient of each group's mean loss, (g, p)."""
        return self._once("group gradients", self._group_gradients)

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
            chunk_size=self.problem.study.chunk_size,
        )

    def forward(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        """The outputs (n, o), differentiable in `parameters` and `inputs`."""
        return self.problem.forward(parameters, inputs)

    def per_example(self, parameters: Sequence[Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        """The losses (n,) of any examples, differentiable in `parameters`."""
        return self.problem.per_example(parameters, inputs, targets)

    @property
    def hessian(self) -> HessianOperator:
        """The Hessian of the training loss."""
        return self._once("Hessian graph", self._hessian)

    def _hessian(self) -> HessianOperator:
        train = self.problem.data.train
        return HessianOperator(
            self.per_example,
            tuple(self.problem.named_tensors.values()),
            train.inputs,
            train.targets,
            chunk_size=self.problem.study.chunk_size,
        )

    def eigenpairs(self, k: int, tolerance: float) -> Eigenpairs:
        """The k largest eigenpairs, from one solve that serves every probe due at this step."""
        solved = self._eigenpairs
        if solved is None or solved[0].k < k or solved[0].tolerance > tolerance:
            asked = EigenpairRequest(k, tolerance)
            request = asked.joint(self._request) if self._request else asked
            self._eigenpairs = solved = (request, self._solve(request))
        return solved[1].first(k)

    def _solve(self, request: EigenpairRequest) -> Eigenpairs:
        hessian = self.hessian
        with self._ledger.bill("eigenpairs"):
            solved = top_eigenpairs(
                hessian,
                min(request.k, self.problem.parameters),
                tolerance=request.tolerance,
                start=self.spectral,
                generator=self.generator("eigenpairs"),
                exploration=request.exploration,
            )
        self._ledger.products["eigenpairs"] += solved.products
        self.spectral = solved.block
        return solved

    def release(self) -> None:
        """Free what this step computed."""
        hessian = self._known.pop("Hessian graph", None)
        if isinstance(hessian, HessianOperator):
            hessian.release()
        self._known.clear()
