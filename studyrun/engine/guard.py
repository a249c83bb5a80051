"""Probes leave no mark: what they could touch is watched, and the global random state is put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor

from studyrun.curvature.memory import ran_out_of_memory
from studyrun.engine.explain import naming
from studyrun.engine.problem import Problem
from studyrun.engine.random_state import forked
from studyrun.errors import ProbeError
from studyrun.stopping import heed


class MarkGuard:
    """Watches tensors while a probe or a trigger works, which draws from global generators of its own.

    A write in place is told by the tensor's version counter; `.data` and numpy's views bypass that, so that all values
    are compared as well at the first, second, fourth, eighth ... time. What the model keeps in attributes as it is
    passed through is put back, not refused: it cannot know who passes through it.
    """

    def __init__(self, problem: Problem) -> None:
        self.tensors: Mapping[str, Tensor] = {}
        self._problem = problem
        self._times: dict[str, int] = {}

    @contextmanager
    def around(self, who: str, step: int) -> Iterator[Callable[[], None]]:
        """Raise `ProbeError` if the block writes to a watched tensor, naming `who`.

        The block is given what sets the global generators back to its beginning, for a second attempt.
        """
        versions = {name: tensor._version for name, tensor in self.tensors.items()}
        times = self._times[who] = self._times.get(who, 0) + 1
        copies = self._copies() if times & (times - 1) == 0 else {}
        hidden = self._problem.hidden["training"]
        kept = hidden.now()
        try:
            seed = self._problem.study.seed.probe
            with forked(seed, who, step, device=self._problem.device) as rewind, naming(who, self._problem, ProbeError):
                yield rewind
        finally:
            if hidden.now() is not kept:
                hidden.put(kept)
        if (name := self.changed(versions, copies)) is not None:
            raise ProbeError(f"{who} wrote to {name} in place; it must leave no mark on training")

    def _copies(self) -> Mapping[str, Tensor]:
        """All tensors as they are; none where memory does not suffice: version counters have to do this time."""
        try:
            return {name: tensor.clone() for name, tensor in self.tensors.items()}
        except Exception as error:
            heed()
            if not ran_out_of_memory(error):
                raise
            return {}

    def changed(self, versions: Mapping[str, int], copies: Mapping[str, Tensor]) -> str | None:
        """The name of a tensor that is not as it was, or None."""
        for name, tensor in self.tensors.items():
            if tensor._version != versions[name] or (name in copies and not _same(tensor, copies[name])):
                return name
        return None


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are equal, NaNs being equal to each other."""
    return bool(((a == b) | ((a != a) & (b != b))).all())
