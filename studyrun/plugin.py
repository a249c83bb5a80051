"""All that a component's author imports; the built-in components import nothing else of this project.

Names that need torch or matplotlib are loaded on first use, so that a figure or a claim costs neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator, model_validator

from studyrun.component import (
    Canvas,
    Carry,
    Claim,
    ComparingClaim,
    ComparingFigure,
    Context,
    Data,
    Dataset,
    EigenpairRequest,
    Figure,
    Firing,
    Grouping,
    Groups,
    Loss,
    Model,
    Moment,
    OperatorKind,
    Optimizer,
    Options,
    Probe,
    Reading,
    Snapshot,
    Split,
    Statistics,
    Threshold,
    Trigger,
    TriggerOption,
    Verdict,
)
from studyrun.errors import ComponentError, DataUnavailableError, NothingToDrawError, ProbeError
from studyrun.trace.channel import (
    NO_VECTOR,
    UNCONVERGED,
    Channel,
    Dimension,
    eigenpair_evidence,
    eigenvector_evidence,
    iterative_evidence,
)

if TYPE_CHECKING:
    from studyrun import curvature
    from studyrun.initialisation import LayerInit
    from studyrun.trace import correlation, edge
    from studyrun.trace.ensemble import Ensemble, for_run
    from studyrun.trace.median import OverRuns, median_interval
    from studyrun.trace.reader import Arm, ChannelTrace, Run
    from studyrun.trace.series import Series

_LATER = {
    "LayerInit": "studyrun.initialisation",
    "Ensemble": "studyrun.trace.ensemble",
    "Series": "studyrun.trace.series",
    "Run": "studyrun.trace.reader",
    "Arm": "studyrun.trace.reader",
    "ChannelTrace": "studyrun.trace.reader",
    "for_run": "studyrun.trace.ensemble",
    "OverRuns": "studyrun.trace.median",
    "median_interval": "studyrun.trace.median",
}
_GONE = {
    "bootstrap_interval": "of five runs and fewer it covered less than it said: `median_interval` gives (low, high, "
    "coverage), or None of too few runs, and `Verdict.on_median` decides a claim by it",
}
_MODULES = {
    "curvature": "studyrun.curvature",
    "correlation": "studyrun.trace.correlation",
    "edge": "studyrun.trace.edge",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _MODULES:
        return import_module(_MODULES[name])
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    if name in _GONE:
        raise ImportError(f"studyrun.plugin has no {name} any more: {_GONE[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "NO_VECTOR",
    "UNCONVERGED",
    "Arm",
    "Canvas",
    "Carry",
    "Channel",
    "ChannelTrace",
    "Claim",
    "ComparingClaim",
    "ComparingFigure",
    "ComponentError",
    "Context",
    "Data",
    "DataUnavailableError",
    "Dataset",
    "Dimension",
    "EigenpairRequest",
    "Ensemble",
    "Field",
    "Figure",
    "Firing",
    "Grouping",
    "Groups",
    "LayerInit",
    "Loss",
    "Model",
    "Moment",
    "NothingToDrawError",
    "OperatorKind",
    "Optimizer",
    "Options",
    "OverRuns",
    "Probe",
    "ProbeError",
    "Reading",
    "Run",
    "Series",
    "Snapshot",
    "Split",
    "Statistics",
    "Threshold",
    "Trigger",
    "TriggerOption",
    "Verdict",
    "correlation",
    "curvature",
    "edge",
    "eigenpair_evidence",
    "eigenvector_evidence",
    "field_validator",
    "for_run",
    "iterative_evidence",
    "median_interval",
    "model_validator",
]
