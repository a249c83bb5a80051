"""Groups that are the classes, for `groups: classes`."""

from __future__ import annotations

import torch

from studyrun.plugin import ComponentError, Data, Grouping, Groups


class Classes(Groups):
    """Every class of the data set is a group, named as the class."""

    only: tuple[str, ...] | None = None
    """The classes to follow, by name; null for all."""

    def form(self, data: Data, subset: torch.Generator) -> Grouping:
        """Return the groups in the order of `only`, or of the classes. The data stay as they are."""
        if not data.classes:
            raise ComponentError("groups classes: this data set has no classes; use `indices` or `random` instead")
        names = data.classes if self.only is None else self.only
        for name in names:
            if name not in data.classes:
                raise ComponentError(f"groups classes: no class {name!r}; the classes are {', '.join(data.classes)}")
        labels = data.train.targets
        members = {name: torch.nonzero(labels == data.classes.index(name)).flatten() for name in names}
        for name, indices in members.items():
            if not len(indices):
                raise ComponentError(f"groups classes: class {name!r} has no training examples; raise `size`")
        return Grouping(data, members)
