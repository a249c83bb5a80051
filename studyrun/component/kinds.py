"""The kinds of components: the folder each is found in, its singular, its contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from studyrun.component.claim import Claim
from studyrun.component.data import Dataset, Groups
from studyrun.component.figure import Figure
from studyrun.component.options import Component
from studyrun.component.probe import Probe
from studyrun.component.training import Loss, Model, Optimizer
from studyrun.component.trigger import Trigger


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of component: the folder and entry-point group it is found under, its singular, its contract."""

    folder: str
    singular: str
    contract: type[Component]


KINDS: Mapping[str, Kind] = {
    kind.folder: kind
    for kind in (
        Kind("models", "model", Model),
        Kind("datasets", "dataset", Dataset),
        Kind("groups", "groups", Groups),
        Kind("losses", "loss", Loss),
        Kind("optimizers", "optimizer", Optimizer),
        Kind("probes", "probe", Probe),
        Kind("triggers", "trigger", Trigger),
        Kind("figures", "figure", Figure),
        Kind("claims", "claim", Claim),
    )
}
