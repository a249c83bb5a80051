"""`check`: what of a run was looked at and is sound, in one line, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

from studyrun import check_run
from studyrun.commands.output import note, write, write_json
from studyrun.trace.check import RunCheck, SweepCheck

MOST_WARNINGS = 10  # of one run that are printed; --json has them all


def check(folder: Path, data: bool, *, as_json: bool) -> int:
    """Print the verdict, the faults below it, and return 1 if there are any."""
    found = check_run(folder, data=data)
    if as_json:
        write_json(found.as_data())
    else:
        _print(found)
    return 0 if found.sound else 1


def _print(found: RunCheck | SweepCheck) -> None:
    write(found.sentence)
    for fault in found.faults:
        write(f"  {fault}")
    for text in found.notes:
        note(f"note: {text}")
    for text in found.warnings[:MOST_WARNINGS] if isinstance(found, RunCheck) else ():
        note(f"warned while it ran: {text}")
    for member in found.members if isinstance(found, SweepCheck) else ():
        if not member.sound or member.notes or member.warnings:
            _print(member)
