"""The contracts: one abstract class per kind of component, and what the engine and the report hand to each.

A component is one frozen Pydantic class. Its fields are its YAML keys, its methods are what it does, and its state
travels outside it. This package imports neither torch nor matplotlib, so that reading a study stays cheap; their types
appear in annotations alone. Shapes: n examples, p parameters (flattened in the model's order), g groups, o outputs.
"""

from studyrun.component.claim import Claim, ComparingClaim, Verdict
from studyrun.component.data import Data, Dataset, Generators, Grouping, Groups, Split
from studyrun.component.figure import Canvas, ComparingFigure, Figure
from studyrun.component.kinds import KINDS, Kind
from studyrun.component.options import (
    COMPONENT,
    Along,
    Carry,
    Component,
    Nested,
    OperatorKind,
    Options,
    Purpose,
    Reading,
    SplitName,
    Statistics,
    fields_of,
)
from studyrun.component.probe import Probe
from studyrun.component.snapshot import Context, EigenpairRequest, Instant, Snapshot
from studyrun.component.training import Loss, Model, Optimizer, Threshold
from studyrun.component.trigger import Firing, Moment, Trigger, TriggerOption

__all__ = [
    "COMPONENT",
    "KINDS",
    "Along",
    "Canvas",
    "Carry",
    "Claim",
    "ComparingClaim",
    "ComparingFigure",
    "Component",
    "Context",
    "Data",
    "Dataset",
    "EigenpairRequest",
    "Figure",
    "Firing",
    "Generators",
    "Grouping",
    "Groups",
    "Instant",
    "Kind",
    "Loss",
    "Model",
    "Moment",
    "Nested",
    "OperatorKind",
    "Optimizer",
    "Options",
    "Probe",
    "Purpose",
    "Reading",
    "Snapshot",
    "Split",
    "SplitName",
    "Statistics",
    "Threshold",
    "Trigger",
    "TriggerOption",
    "Verdict",
    "fields_of",
]
