"""Probes leave no mark: what they could touch is watched, and the global random state is put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from studyrun.curvature.memory import ran_out_of_memory
from studyrun.engine import random_state
from studyrun.errors import ProbeError

COMPARED_IN_FULL = 2  # the first measurements of each probe: `.data` writes bypass torch's version counters


class MarkGuard:
    """Watches tensors while a probe measures.

    A write in place is told by the tensor's version counter; during a probe's first measurements all values are
    compared as well. Drawing from a global generator is undone, not refused: libraries do it without saying so.
    """

    def __init__(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        self.tensors, self.device = tensors, device
        self._measured: dict[str, int] = {}

    @contextmanager
    def around(self, label: str) -> Iterator[Callable[[], None]]:
        """Raise `ProbeError` if the block writes to a watched tensor; put every global generator back.

        The block is given what puts them back before its end, for a second attempt.
        """
        versions = {name: tensor._version for name, tensor in self.tensors.items()}
        copies = self._copies() if self._measured.get(label, 0) < COMPARED_IN_FULL else {}
        self._measured[label] = self._measured.get(label, 0) + bool(copies)
        state = random_state.capture(self.device)
        try:
            yield lambda: random_state.restore(state, self.device)
        finally:
            random_state.restore(state, self.device)
        if (name := self.changed(versions, copies)) is not None:
            raise ProbeError(f"probe {label!r} wrote to {name} in place; a probe must leave no mark on training")

    def _copies(self) -> Mapping[str, Tensor]:
        """All tensors as they are; none where memory does not suffice: version counters have to do this time."""
        try:
            return {name: tensor.clone() for name, tensor in self.tensors.items()}
        except Exception as error:
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
