"""Groups listed by hand, for `groups: {use: indices, members: {...}}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch

from studyrun.plugin import ComponentError, Data, Field, Grouping, Groups, field_validator


class Indices(Groups):
    """Groups listed by their examples' indices in the training set; they may overlap."""

    members: Annotated[Mapping[str, tuple[Annotated[int, Field(ge=0)], ...]], Field(min_length=1)]
    """A name for each group, and the indices of its examples, counted from 0."""

    @field_validator("members")
    @classmethod
    def _sensible(cls, members: Mapping[str, tuple[int, ...]]) -> Mapping[str, tuple[int, ...]]:
        for name, indices in members.items():
            if not indices:
                raise ValueError(f"group {name!r} is empty; list at least one index")
            if len(set(indices)) < len(indices):
                raise ValueError(f"group {name!r} lists an index twice; list each once")
        return members

    def form(self, data: Data, subset: torch.Generator) -> Grouping:
        """Return the groups as listed. Raises `ComponentError` for an index beyond the training set."""
        for name, indices in self.members.items():
            if max(indices) >= len(data.train):
                raise ComponentError(
                    f"groups indices: group {name!r} lists {max(indices)}, "
                    f"and the training set ends at {len(data.train) - 1}"
                )
        return Grouping(data, {name: torch.tensor(indices) for name, indices in self.members.items()})
