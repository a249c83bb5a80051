"""From a run folder, or a sweep's, to `report/`: figures, numbers, verdicts and the page, in place of the last one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from studyrun.errors import StudyrunError
from studyrun.report.claims import to_json
from studyrun.report.contents import Made, gather
from studyrun.report.figures import Skipped
from studyrun.report.folder import replacing
from studyrun.report.page import render
from studyrun.report.style import house_style
from studyrun.stopping import heeding, python_heard
from studyrun.trace.contained import check_contained
from studyrun.trace.reader import open_run

if TYPE_CHECKING:
    from studyrun.component import Verdict


class UnmetClaimError(StudyrunError):
    """Under `strict`: a claim does not hold or cannot be decided, or a figure broke."""


@dataclass(frozen=True, slots=True)
class ReportResult:
    """What was made. `broken` are the figures that could not be drawn, `skipped` those with nothing to draw."""

    path: Path
    figures: tuple[str, ...]
    claims: tuple[tuple[str, Verdict], ...]
    skipped: tuple[Skipped, ...]
    broken: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise `UnmetClaimError` unless every claim holds and every figure was drawn."""
        faults = [f"claim {label}: {verdict.sentence}" for label, verdict in self.claims if verdict.holds is not True]
        faults += [f"figure {label} could not be drawn" for label in self.broken]
        if faults:
            raise UnmetClaimError("\n".join([f"{self.path}: not everything the study asserts holds", *faults]))


def build_report(path: Path, *, strict: bool = False) -> ReportResult:
    """Make `report/` in a run folder, or in a sweep's, and return what it holds.

    The new report takes the place of the old one at once, when it is complete. Under `strict` an error is raised
    after that, unless every claim holds and every figure was drawn. Raises `RunFolderError` where `path` is no run
    folder or cannot be written.
    """
    check_contained(Path(path))
    opened = open_run(path)
    with python_heard(), replacing(Path(path) / "report") as folder, heeding(), house_style():
        page, made = gather(opened, folder)
        (folder / "claims.json").write_text(to_json(made.claims), encoding="utf-8", errors="backslashreplace")
        (folder / "index.html").write_text(render(page), encoding="utf-8", errors="backslashreplace")
    result = _result(Path(path) / "report" / "index.html", made)
    if strict:
        result.check()
    return result


def _result(path: Path, made: Made) -> ReportResult:
    names = tuple(figure.label for figure in made.figures if figure.image)
    broken = tuple(figure.label for figure in made.figures if not figure.image)
    claims = tuple(
        (f"{claim.condition}: {claim.label}" if claim.condition else claim.label, claim.verdict)
        for claim in made.claims
    )
    return ReportResult(path, names, claims, tuple(made.skipped), broken)
