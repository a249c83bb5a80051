"""From a study file to a study in memory, and back."""

from typing import Any

from studyrun.study.load import load_study, profile_names, study_from_member
from studyrun.study.schema import Study

__all__ = ["Study", "json_schema", "load_study", "profile_names", "study_from_member"]


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a study file over all components within reach; imports every one of them."""
    from studyrun.study.editor_schema import json_schema as build

    return build()
