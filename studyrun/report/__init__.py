"""From a trace to figures, a page and checked claims, without torch."""

from studyrun.report.build import ReportResult, UnmetClaimError, build_report

__all__ = ["ReportResult", "UnmetClaimError", "build_report"]
