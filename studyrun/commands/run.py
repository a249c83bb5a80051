"""`run` and `resume`: a study carried out, and how that ended."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from studyrun.commands.failure import INTERRUPTED
from studyrun.commands.output import note, write, write_json
from studyrun.commands.plan import show_plan
from studyrun.engine.provenance import command_line
from studyrun.engine.signals import StopRequest
from studyrun.errors import InterruptedRunError, RunFolderError
from studyrun.launch.outcome import Outcome
from studyrun.launch.progress import Display, display
from studyrun.launch.start import launch
from studyrun.launch.start import resume as resume_folder
from studyrun.stopping import heeding, taken
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

    def carry_out(progress: Display, stop: StopRequest) -> Outcome:
        return launch(
            study,
            out=out,
            workers=workers,
            fail_fast=fail_fast,
            command=command_line(),
            progress=progress,
            stop=stop,
        )

    return _told(carry_out, workers, "before the run began; nothing was written", report, as_json)


def resume(
    folder: Path, *, overrides: Sequence[str], workers: int | None, fail_fast: bool, report: bool, as_json: bool
) -> int:
    """Carry on with a run or a sweep."""

    def carry_on(progress: Display, stop: StopRequest) -> Outcome:
        return resume_folder(
            folder, overrides=overrides, workers=workers, fail_fast=fail_fast, progress=progress, stop=stop
        )

    return _told(carry_on, workers or 1, "before the run went on; nothing was changed", report, as_json)


def _told(
    carry_out: Callable[[Display, StopRequest], Outcome], workers: int, unbegun: str, report: bool, as_json: bool
) -> int:
    """Carry it out and tell of it. From its end until that is told, nothing is left to be interrupted."""
    stop = StopRequest()
    stop.leave = lambda: _leave(unbegun)
    with stop.listening(begun=False):
        try:
            with heeding(), display(most=workers) as progress:
                outcome = carry_out(progress, stop)
        except KeyboardInterrupt as error:
            taken()
            raise InterruptedRunError(f"interrupted {unbegun}") from error
        note(f"{outcome.folder}: {_in_words(outcome)}")
        if not report or outcome.state == "interrupted":
            return _tell(outcome, None, as_json)
    return _tell(outcome, _reported(outcome), as_json)


def _leave(unbegun: str) -> None:
    """End at once, where there is nothing to put in order: not every library that is being imported bears a raise."""
    with suppress(OSError):
        shown = b"\x1b[?25h" if os.isatty(2) else b""  # the cursor
        os.write(2, shown + f"error: interrupted {unbegun}\n".encode())
    os._exit(INTERRUPTED)


def _tell(outcome: Outcome, page: Path | None, as_json: bool) -> int:
    """What to do next on stderr; on stdout the page or the folder alone, or all of it as JSON."""
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
        return f"{outcome.state} already; there is nothing to resume (`--set stop.steps=...` takes it further)"
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
