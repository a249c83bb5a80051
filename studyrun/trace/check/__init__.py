"""`studyrun check`: whether what lies in a run folder is what a run recorded, told without training anything."""

from studyrun.trace.check.findings import Finding
from studyrun.trace.check.run import Readers, check
from studyrun.trace.check.verdict import RunCheck, SweepCheck

__all__ = ["Finding", "Readers", "RunCheck", "SweepCheck", "check"]
