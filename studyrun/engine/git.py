"""How code below a folder differs from what its repository has: bounded, without data, without secrets."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SWITCH = "STUDYRUN_GIT_DIFF"
LONGEST_DIFF = 200_000
MOST_NAMES = 100
CODE = "py pyi pyx pxd ipy r jl m sh bash toml cfg ini yaml yml c cc cpp cxx cu cuh h hpp rs proto"
"""Endings of files that are code or settings, and so small; notebooks and JSON carry data."""
_SECRET = re.compile(r"(?<![a-z])(secrets?|credentials?|passwords?|passwd|tokens?|api_?keys?)(?![a-z])", re.IGNORECASE)
_NOT_OURS = (":(exclude,glob)**/site-packages/**", ":(exclude,glob)**/node_modules/**")
_BIGGEST = ("-c", "core.bigFileThreshold=1m", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false")


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return the commit of the repository around `folder` and how code below the folder differs from it.

    `diff` is of tracked files, up to 200,000 bytes and whole files; `untracked` names those that git does not know;
    `left_out` says what was passed over and why. None where there is no repository. $STUDYRUN_GIT_DIFF=0 leaves out
    the diff and the names.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    endings = [f":(glob)**/*.{ending}" for ending in CODE.split()]
    changed = _names(folder, "diff", "--name-only", "--no-renames", "--relative", "-z", "HEAD", "--", *endings)
    untracked = _names(folder, "ls-files", "--others", "--exclude-standard", "-z", "--", *endings, *_NOT_OURS)
    found: dict[str, Any] = {"commit": commit.strip(), "dirty": bool(changed or untracked), "diff": "", "untracked": []}
    if os.environ.get(SWITCH, "").lower() in ("0", "off", "no", "false"):
        return {**found, "left_out": f"the diff is switched off by {SWITCH}={os.environ[SWITCH]}"}
    shown, left_out = _bounded(_diffs(folder, [name for name in changed if _is_open(name)]))
    secret = sum(not _is_open(name) for name in (*changed, *untracked))
    left_out += [f"{_count(secret)} that are hidden or whose names speak of secrets"] if secret else []
    open_names = [name for name in untracked if _is_open(name)]
    if len(open_names) > MOST_NAMES:
        left_out.append(f"the names of {len(open_names) - MOST_NAMES} more untracked files")
    return {**found, "diff": shown, "untracked": open_names[:MOST_NAMES], "left_out": "; ".join(left_out)}


def _bounded(diffs: Sequence[tuple[str, str]]) -> tuple[str, list[str]]:
    """The diffs of as many files as there is room for, and what is said of the rest."""
    shown, passed, size = [], [], 0
    for name, text in diffs:
        length = len(text.encode())
        if size + length > LONGEST_DIFF:
            passed.append((name, length))
            continue
        shown.append(text)
        size += length
    if not passed:
        return "".join(shown), []
    some = ", ".join(name for name, _ in passed[:3]) + (", ..." if len(passed) > 3 else "")
    total = sum(length for _, length in passed)
    return "".join(shown), [f"the diff of {_count(len(passed))}, {total:,} bytes beyond {LONGEST_DIFF:,} ({some})"]


def _diffs(folder: Path, names: Sequence[str]) -> list[tuple[str, str]]:
    """Each file's own diff. What git takes for binary, and anything above a megabyte, is one line there."""
    if not names:
        return []
    literal = [f":(literal){name}" for name in names]
    plain = ("--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--irreversible-delete", "--relative")
    text = _git(folder, "diff", *plain, "HEAD", "--", *literal) or ""
    parts = re.split(r"(?m)^(?=diff --git )", text)[1:]
    return list(zip(names, parts, strict=False))


def _is_open(name: str) -> bool:
    """Whether a file's path says nothing of secrets, and is not hidden as `.env` is."""
    return not _SECRET.search(name) and not any(part.startswith(".") for part in Path(name).parts)


def _count(number: int) -> str:
    return "one file" if number == 1 else f"{number} files"


def _names(folder: Path, *arguments: str) -> list[str]:
    return [name for name in (_git(folder, *arguments) or "").split("\0") if name]


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *_BIGGEST, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=20,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
