from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from studyrun.plugin import Optimizer, Threshold


class Drift(Optimizer):
    """Steps wherever it likes."""

    lr: float = 1.0
    pull: float = 0.5

    def build(self, parameters: Iterable[Any]) -> Any:
        raise NotImplementedError

    def threshold(self) -> Threshold | None:
        return None
