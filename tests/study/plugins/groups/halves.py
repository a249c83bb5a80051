from __future__ import annotations

from typing import Any

from studyrun.plugin import Data, Grouping, Groups


class Halves(Groups):
    """Two halves of the data."""

    size: int = 5

    def form(self, data: Data, subset: Any) -> Grouping:
        raise NotImplementedError
