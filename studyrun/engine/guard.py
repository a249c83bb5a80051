"""Probes leave no mark: what they could touch is watched, and the global random state is put back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

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
    def around(self, label: str) -> Iterator[None]:
        """Raise `ProbeError` if the block writes to a watched tensor; put every global generator back."""
        versions = {name: tensor._version for name, tensor in self.tensors.items()}
        count = self._measured[label] = self._measured.get(label, 0) + 1
        copies = {name: t.clone() for name, t in self.tensors.items()} if count <= COMPARED_IN_FULL else {}
        state = random_state.capture(self.device)
        try:
            yield
        finally:
            random_state.restore(state, self.device)
        if (name := self.changed(versions, copies)) is not None:
            raise ProbeError(f"probe {label!r} wrote to {name} in place; a probe must leave no mark on training")

    def changed(self, versions: Mapping[str, int], copies: Mapping[str, Tensor]) -> str | None:
        """The name of a tensor that is not as it was, or None."""
        for name, tensor in self.tensors.items():
            if tensor._version != versions[name] or (name in copies and not _same(tensor, copies[name])):
                return name
        return None


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are equal, NaNs being equal to each other."""
    return bool(((a == b) | ((a != a) & (b != b))).all())
