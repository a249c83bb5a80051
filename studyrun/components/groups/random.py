"""Groups drawn at random, for `groups: {use: random}`."""

from __future__ import annotations

from typing import Annotated

import torch

from studyrun.plugin import ComponentError, Data, Field, Grouping, Groups


class Random(Groups):
    """Groups drawn at random from the training set, without overlap: what chosen groups are held against.

    A single group is called `random`, several `random_1`, `random_2`, and so on.
    """

    count: Annotated[int, Field(ge=1)] = 1
    """How many groups."""
    size: Annotated[int, Field(ge=1)] = 20
    """Examples in each."""

    def form(self, data: Data, subset: torch.Generator) -> Grouping:
        """Return the groups, indices rising in each. Raises `ComponentError` where there are too few examples."""
        needed = self.count * self.size
        if needed > len(data.train):
            raise ComponentError(
                f"groups random: {self.count} × {self.size} = {needed} examples are asked for, "
                f"and the training set has {len(data.train)}; lower count or size"
            )
        drawn = torch.randperm(len(data.train), generator=subset)[:needed].view(self.count, self.size)
        names = ["random"] if self.count == 1 else [f"random_{number}" for number in range(1, self.count + 1)]
        return Grouping(data, {name: group.sort().values for name, group in zip(names, drawn, strict=True)})
