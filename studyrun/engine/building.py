"""Data, groups and model from their components, each drawn under generators of its own, and what is wrong with them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from studyrun.component import Data, Grouping, Split
from studyrun.engine.data_check import data_faults, data_warnings, form_faults, tidied
from studyrun.engine.explain import naming
from studyrun.engine.findings import Findings
from studyrun.engine.group_check import group_faults, tidied_groups
from studyrun.engine.model_check import make_lazy_parameters, model_faults
from studyrun.engine.random_state import forked, seeded

if TYPE_CHECKING:
    from pathlib import Path

    from studyrun.study.schema import Study

CPU = torch.device("cpu")


def load_data(study: Study, folder: Path, dtype: torch.dtype, found: Findings) -> tuple[Data | None, Grouping | None]:
    """The data set and its groups, which may replace examples; what is wrong with them is among the findings.

    Of data with a wrong value there are no groups, and of those with a wrong shape or type nothing at all.
    """
    before = len(found.faults)
    data = _loaded(study, folder, dtype, found)
    if data is None or study.groups is None or len(found.faults) > before:
        return data, None
    grouping = _formed(study, data, dtype, found)
    return (grouping.data if grouping else data), grouping


def _loaded(study: Study, folder: Path, dtype: torch.dtype, found: Findings) -> Data | None:
    who, seed = f"data set {study.names['dataset']!r}", study.seed.subset
    with found.noting(), naming(who, memory=True):
        with forked(seed, "dataset", device=CPU):
            data = study.dataset.load(folder, seeded(seed, "dataset"))
        if found.add(who, data_faults(data, dtype)):
            for text in data_warnings(data):
                found.warn(f"{who}: {text}")
        if not form_faults(data):
            return tidied(data)
    return None


def _formed(study: Study, data: Data, dtype: torch.dtype, found: Findings) -> Grouping | None:
    assert study.groups is not None
    who, seed = f"groups {study.names['groups']!r}", study.seed.subset
    with found.noting(), naming(who, memory=True):
        with forked(seed, "groups", device=CPU):
            grouping = study.groups.form(data, seeded(seed, "groups"))
        if found.add(who, group_faults(grouping, data, dtype)):
            return tidied_groups(grouping)
    return None


def made(study: Study, example_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """What the model's component makes, unchecked. It draws from global generators as well, which are to be forked."""
    return study.model.build(example_shape, outputs, seeded(study.seed.init, "init"))


def build_model(study: Study, data: Data, found: Findings) -> nn.Module | None:
    """The model as it is initialised, on the CPU; None where the findings say what is wrong."""
    who = f"model {study.names['model']!r}"
    with found.noting(), naming(who, memory=True):
        with forked(study.seed.init, "init", device=CPU):
            model = made(study, data.example_shape, data.outputs)
            if isinstance(model, nn.Module):
                make_lazy_parameters(model, data)
        if found.add(who, model_faults(model)):
            return model
    return None


def _place_split(split: Split, dtype: torch.dtype, device: torch.device) -> Split:
    def place(tensor: Tensor) -> Tensor:
        return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None).contiguous()

    return Split(place(split.inputs), place(split.targets))


def place_data(data: Data, dtype: torch.dtype, device: torch.device) -> Data:
    """The data in the study's precision, on its device."""
    test = _place_split(data.test, dtype, device) if data.test is not None else None
    return replace(data, train=_place_split(data.train, dtype, device), test=test)


def place_grouping(grouping: Grouping | None, data: Data, dtype: torch.dtype, device: torch.device) -> Grouping | None:
    """The groups on the study's device, with the data that lie there."""
    if grouping is None:
        return None
    members = {name: indices.to(device) for name, indices in grouping.members.items()}
    centroids = grouping.centroids
    return replace(
        grouping,
        data=data,
        members=members,
        centroids=centroids.to(dtype=dtype, device=device) if centroids is not None else None,
    )
