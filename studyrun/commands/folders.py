"""`ls`: run folders, with how they stand."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studyrun.commands.output import note, seconds, table, write, write_json
from studyrun.errors import RunFolderError, UsageError
from studyrun.launch.folder import outputs_folder
from studyrun.launch.state import read_status, state_of
from studyrun.trace.folder import SWEEP, parse_study, read_study, read_sweep


def list_runs(folder: Path | None, as_json: bool) -> None:
    """Print the runs in a folder, or the members of a sweep."""
    where = folder or outputs_folder()
    if not where.is_dir() and folder is not None:
        raise UsageError(f"{where} is no folder")
    inside = sorted(where.iterdir(), key=_natural) if where.is_dir() else []
    runs = [_described(one) for one in inside if _is_run(one)]
    if as_json:
        write_json(runs)
    elif runs:
        write("\n".join(table([_row(run) for run in runs])))
    else:
        note(f"no runs in {where}")


def _natural(path: Path) -> list[tuple[int, str]]:
    """run2 before run10."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"([0-9]+)", path.name)]


def _is_run(path: Path) -> bool:
    return any(os.path.isfile(path / name) for name in ("status.json", "study.yaml", SWEEP))  # not one that is closed


def _described(path: Path) -> dict[str, Any]:
    status = read_status(path)
    found = {"folder": path, "state": state_of(path), "title": _title(path), "seconds": status.get("seconds")}
    if (path / SWEEP).is_file():
        return {**found, "members": dict(_members(path))}
    return {**found, "step": status.get("step"), "arms": status.get("arms", {})}


def _title(path: Path) -> str:
    try:
        return str(parse_study(path, read_study(path) or "").get("title", ""))
    except RunFolderError:
        return ""


def _members(path: Path) -> Iterator[tuple[str, str]]:
    try:
        _, entries = read_sweep(path)
    except RunFolderError:
        return
    noted = read_status(path).get("members", {})
    for entry in entries:
        own = state_of(path / entry.name)
        yield entry.name, str(noted.get(entry.name, {}).get("state", own)) if own == "not started" else own


def _row(run: dict[str, Any]) -> list[str]:
    parts = run.get("members", run.get("arms", {}))
    if "members" in run:
        counts = Counter(parts.values())
        content = f"{len(parts)} members: {', '.join(f'{count} {state}' for state, count in counts.items())}"
    else:
        content = ", ".join(name if state == "complete" else f"{name} {state}" for name, state in parts.items())
    step = "" if run.get("step") is None else f"step {run['step']:,}"
    return [str(run["folder"]), run["state"], seconds(run["seconds"]), step, content, run["title"]]
