"""`run` and `resume`: a study carried out, and how that ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from studyrun.commands.failure import INTERRUPTED
from studyrun.commands.output import note, write, write_json
from studyrun.commands.plan import show_plan
from studyrun.engine.provenance import command_line
from studyrun.errors import InterruptedRunError, RunFolderError
from studyrun.launch.outcome import Outcome
from studyrun.launch.progress import display
from studyrun.launch.start import launch
from studyrun.launch.start import resume as resume_folder
from studyrun.study import load_study

EXIT_CODES = {"failed": 1, "interrupted": INTERRUPTED}


def run(
    path: Path,
    *,
    overrides: Sequence[str],
    profiles: Sequence[str],
    out: Path | None,
    dry_run: bool,
    workers: int,
    fail_fast: bool,
    report: bool,
    as_json: bool,
) -> int:
    """Run a study, or print what would be run."""
    study = load_study(path, profile=profiles, overrides=overrides)
    if dry_run:
        show_plan(study, as_json)
        return 0
    try:
        with display(most=workers) as progress:
            outcome = launch(
                study, out=out, workers=workers, fail_fast=fail_fast, command=command_line(), progress=progress
            )
    except KeyboardInterrupt as error:
        raise InterruptedRunError("interrupted before the run began; nothing was written") from error
    return _tell(outcome, report, as_json)


def resume(folder: Path, *, workers: int | None, fail_fast: bool, report: bool, as_json: bool) -> int:
    """Carry on with a run or a sweep."""
    try:
        with display(most=workers or 1) as progress:
            outcome = resume_folder(folder, workers=workers, fail_fast=fail_fast, progress=progress)
    except KeyboardInterrupt as error:
        raise InterruptedRunError(f"interrupted; `studyrun resume {folder}` carries it on") from error
    return _tell(outcome, report, as_json)


def _tell(outcome: Outcome, report: bool, as_json: bool) -> int:
    """How it ended and what to do next on stderr; on stdout the folder alone, or all of it as JSON."""
    note(f"{outcome.folder}: {_in_words(outcome)}")
    page = _reported(outcome) if report and outcome.state != "interrupted" else None
    if outcome.state in EXIT_CODES:
        note(f"next: studyrun resume {outcome.folder}")
    elif page is None:
        note(f"next: studyrun report {outcome.folder}")
    if as_json:
        write_json(_as_data(outcome, page))
    else:
        write(str(page or outcome.folder))
    return EXIT_CODES.get(outcome.state, 0)


def _reported(outcome: Outcome) -> Path | None:
    from studyrun.commands.report import interruptible

    try:
        return interruptible(outcome.folder).path
    except RunFolderError as error:
        note(f"warning: no report was made: {error}")
        return None


def _in_words(outcome: Outcome) -> str:
    if outcome.already:
        return f"{outcome.state} already; there is nothing to resume"
    if not outcome.members:
        return outcome.state
    counts = Counter(member.state for member in outcome.members)
    return f"{outcome.state}; members: {', '.join(f'{count} {state}' for state, count in counts.items())}"


def _as_data(outcome: Outcome, page: Path | None) -> dict[str, Any]:
    data: dict[str, Any] = {"folder": outcome.folder, "state": outcome.state, "already_finished": outcome.already}
    if outcome.members:
        data["members"] = [
            {"name": one.name, "folder": outcome.folder / one.name, "state": one.state, "error": one.error or None}
            for one in outcome.members
        ]
    else:
        data["arms"] = dict(outcome.arms)
    return data | ({"report": page} if page else {})
