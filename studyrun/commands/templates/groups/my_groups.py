"""Groups of your own, for `groups: my_groups`."""

from __future__ import annotations

from typing import Annotated

import torch

from studyrun.plugin import ComponentError, Data, Field, Grouping, Groups


class MyGroups(Groups):
    """The training examples of smallest and of largest norm, as groups `small` and `large`.

    By ‖x_i‖₂ of the normalised inputs; of equal norms the earlier example comes first. The data stay as they are.
    """

    size: Annotated[int, Field(ge=1)] = 5
    """Examples in each group."""

    def form(self, data: Data, subset: torch.Generator) -> Grouping:
        """Return the two groups. Raises `ComponentError` where they would overlap."""
        if 2 * self.size > len(data.train):
            raise ComponentError(
                f"groups my_groups: two groups of {self.size} do not fit into {len(data.train)} training examples"
            )
        order = data.train.inputs.flatten(1).norm(dim=1).argsort(stable=True)
        return Grouping(data, {"small": order[: self.size], "large": order[-self.size :]})
