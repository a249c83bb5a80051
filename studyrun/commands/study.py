"""`validate`, `show` and `schema`: study files, without running them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from studyrun.commands.output import note, write, write_json
from studyrun.errors import Fault, InvalidStudyError, RunFolderError
from studyrun.study import Study, json_schema, load_study
from studyrun.study.layers import read_layers
from studyrun.study.tree import Faults


def validate(
    paths: Sequence[Path], *, overrides: Sequence[str], profiles: Sequence[str], all_profiles: bool, as_json: bool
) -> int:
    """Check studies, each as it is or under the profiles given, or as it is and under each of its profiles."""
    results = [
        _checked(path, chosen, overrides)
        for path in paths
        for chosen in (_each_profile(path) if all_profiles else [tuple(profiles)])
    ]
    if as_json:
        write_json(results)
    else:
        _tell(results)
    return 0 if all(result["valid"] for result in results) else InvalidStudyError.exit_code


def _each_profile(path: Path) -> list[tuple[str, ...]]:
    """Nothing, then every profile alone. What is wrong with the file itself is found by loading it."""
    try:
        layers = read_layers(path, Faults())
    except InvalidStudyError:
        return [()]
    return [(), *((name,) for name in (layers.profiles if layers else ()))]


def _checked(path: Path, profiles: tuple[str, ...], overrides: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"study": path, "profiles": profiles, "valid": True, "faults": []}
    try:
        study = load_study(path, profile=profiles, overrides=overrides)
    except InvalidStudyError as error:
        return {**found, "valid": False, "faults": [_as_data(fault) for fault in error.faults]}
    return {**found, "title": study.title, "contents": _contents(study)}


def _as_data(fault: Fault) -> dict[str, Any]:
    names = ("file", "line", "column", "path", "message")
    return {**{name: getattr(fault, name) for name in names}, "text": str(fault)}


def _contents(study: Study) -> str:
    counts = {"arm": 1 + len(study.branches), "probe": len(study.probes), "member": len(study.members)}
    return ", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items() if count)


def _tell(results: Sequence[dict[str, Any]]) -> None:
    """Valid studies on stdout; faults on stderr, each once however many profiles share it."""
    for line in dict.fromkeys(_fault_lines(results)):
        note(line)
    for result in results:
        name = f"{result['study']}{''.join(f' --profile {one}' for one in result['profiles'])}"
        if result["valid"]:
            write(f"{name}: valid ({result['contents']})")
        else:
            count = len(result["faults"])
            note(f"error: {name}: {count} fault{'s' * (count != 1)}")
    if any(result["valid"] for result in results):
        note(
            "data, shapes, batches and derivatives are looked at by `studyrun run STUDY --dry-run`, and before each run"
        )


def _fault_lines(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    for result in results:
        for fault in result["faults"]:
            yield fault["text"]


def show(path: Path, *, overrides: Sequence[str], profiles: Sequence[str], as_json: bool) -> None:
    """Print a study with profiles, overrides and defaults applied, as it would lie in its run folder."""
    study = load_study(path, profile=profiles, overrides=overrides)
    if as_json:
        write_json(study.document)
    else:
        write(study.to_yaml().rstrip("\n"))


def schema(out: Path | None) -> None:
    """Print or write the JSON Schema of study files, over every component within reach."""
    content = json_schema()
    if out is None:
        write_json(content)
        return
    try:
        out.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise RunFolderError(f"cannot write {out}: {error.strerror or error}") from error
    note(f"{out} written; a study's first line may name it: # yaml-language-server: $schema={out}")
