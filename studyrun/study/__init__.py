"""From a study file to a study in memory, and back."""

from studyrun.study.load import load_study, study_from_member
from studyrun.study.schema import Study

__all__ = ["Study", "load_study", "study_from_member"]
