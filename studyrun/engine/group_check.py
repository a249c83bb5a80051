"""Groups as plugins return them: every fault that the indices themselves can tell, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from numbers import Real

import torch
from torch import Tensor

from studyrun.component import Data, Grouping
from studyrun.engine.data_check import data_faults, tidied, type_name


def group_faults(grouping: object, data: Data, dtype: torch.dtype) -> Iterator[str]:
    """What is wrong with groups that were formed of `data`."""
    if not isinstance(grouping, Grouping):
        yield f"`form` returns a {type(grouping).__name__}; `Grouping(data, members)` would be right"
        return
    if grouping.data is not data:
        wrong = [f"of the data it returns, {fault}" for fault in data_faults(grouping.data, dtype)]
        yield from wrong
        if wrong:
            return
    if not grouping.members:
        yield "there is no group"
    for name, indices in grouping.members.items():
        if not isinstance(name, str) or not name.strip():
            yield f"{name!r} is no name of a group; a text would be right"
        yield from (f"group {name!r} {fault}" for fault in _member_faults(indices, len(grouping.data.train)))
    yield from _centroid_faults(grouping)
    for name, fact in grouping.facts.items():
        if not isinstance(fact, Real) and not (isinstance(fact, Tensor) and fact.numel() == 1):
            yield f"the fact {name!r} is a {type(fact).__name__}; a number would be right"


def tidied_groups(grouping: Grouping) -> Grouping:
    """Sound groups with plain numbers for their facts."""
    return replace(
        grouping, data=tidied(grouping.data), facts={str(name): float(fact) for name, fact in grouping.facts.items()}
    )


def _member_faults(indices: object, examples: int) -> Iterator[str]:
    if isinstance(indices, Tensor) and indices.dtype == torch.bool:
        yield "is a mask; the indices `mask.nonzero().flatten()` would be right"
    elif not isinstance(indices, Tensor) or indices.dtype != torch.int64 or indices.dim() != 1:
        found = f"{type_name(indices.dtype)} of shape {tuple(indices.shape)}" if isinstance(indices, Tensor) else ""
        yield f"is {found or f'a {type(indices).__name__}'}; an int64 tensor of indices (n,) would be right"
    elif not len(indices):
        yield "is empty"
    elif int(indices.min()) < 0 or int(indices.max()) >= examples:
        wrong = int(indices[(indices < 0) | (indices >= examples)][0])
        yield f"holds the index {wrong}; 0 to {examples - 1} would be right"
    elif len(torch.unique(indices)) < len(indices):
        yield "holds an index twice; `.unique()` would be right"


def _centroid_faults(grouping: Grouping) -> Iterator[str]:
    centroids, shape = grouping.centroids, grouping.data.example_shape
    if centroids is None:
        return
    if not isinstance(centroids, Tensor) or tuple(centroids.shape[1:]) != shape:
        found = tuple(centroids.shape) if isinstance(centroids, Tensor) else type(centroids).__name__
        yield f"centroids are {found}; a tensor of shape {('classes', *shape)} would be right"
    elif not centroids.isfinite().all():
        yield "centroids hold a number that is not finite"
