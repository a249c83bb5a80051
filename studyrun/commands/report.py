"""`report`: a run folder's figures, page and verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from studyrun.commands.output import note, write, write_json
from studyrun.errors import InterruptedRunError
from studyrun.report import build_report
from studyrun.report.claims import PHRASES
from studyrun.stopping import taken

if TYPE_CHECKING:
    from studyrun.report import ReportResult


def report(folder: Path, *, strict: bool, show: bool, as_json: bool) -> int:
    """Make the report, say what it found, and under `strict` fail where a claim does not hold."""
    result = interruptible(folder)
    for label, verdict in result.claims:
        note(f"claim {label} {PHRASES[verdict.word][0]}: {verdict.sentence}")
    for skipped in (one for one in result.skipped if one.asked):
        note(f"warning: figure {skipped.label} was not drawn: {skipped.reason}")
    for label in result.broken:
        note(f"warning: figure {label} could not be drawn; the page says why")
    if as_json:
        write_json(_as_data(result))
    else:
        write(str(result.path))
    if show:
        import webbrowser

        webbrowser.open(result.path.resolve().as_uri())
    if strict:
        result.check()
    return 0


def interruptible(folder: Path) -> ReportResult:
    """Build the report; a Ctrl-C leaves what was there before, and says so."""
    before = _identity(folder / "report")
    try:
        return build_report(folder)
    except KeyboardInterrupt as error:
        taken()
        stands = "as it was before" if _identity(folder / "report") == before else "the new one"
        raise InterruptedRunError(
            f"interrupted; {folder / 'report'} is {stands}, and the run is not touched"
        ) from error


def _identity(folder: Path) -> int | None:
    """What tells a folder from another that takes its place."""
    return folder.stat().st_ino if folder.is_dir() else None


def _as_data(result: ReportResult) -> dict[str, Any]:
    claims = [
        {
            "label": label,
            "holds": verdict.holds,
            "statistic": verdict.statistic,
            "interval": verdict.interval,
            "sentence": verdict.sentence,
            "coverage": verdict.coverage,
            "runs": verdict.runs,
            "verdict": verdict.word,
        }
        for label, verdict in result.claims
    ]
    skipped = {one.label: one.reason for one in result.skipped}
    return {
        "path": result.path,
        "figures": result.figures,
        "claims": claims,
        "skipped": skipped,
        "broken": result.broken,
    }
