"""A study file to a `Study`, or to everything that is wrong with it, before any data are touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from studyrun.errors import StudyrunError, UsageError
from studyrun.registry import Registry, nearest
from studyrun.study.assembly import assemble, ordered
from studyrun.study.branches import build_branches
from studyrun.study.components import Workshop
from studyrun.study.extent import check_extent
from studyrun.study.layers import read_layers, with_profiles
from studyrun.study.merging import Setting, normalised, put
from studyrun.study.overrides import parse_override, split
from studyrun.study.schema import Member, Study
from studyrun.study.sections import read_sections
from studyrun.study.study_file import parse_study
from studyrun.study.sweep import expand, sweep_of, unseen
from studyrun.study.tree import Block, Faults, Origin, plain, planted


def load_study(
    path: Path, *, profile: Sequence[str] = (), overrides: Sequence[str] = (), registry: Registry | None = None
) -> Study:
    """Read, merge and check a study file. Only the components it names are imported, and no data are loaded.

    Those come from `registry`, by default that of the project that the file lies in. `profile` names profiles, merged
    in order; `overrides` are texts such as `optimizer.lr=0.1`, applied after them.
    Raises `InvalidStudyError` with every fault, and `UsageError` if there is no such file.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"there is no study file {path}{_neighbours(path)}")
    faults = Faults()
    layers = read_layers(path, faults)
    settings = [setting for text in overrides if (setting := parse_override(text, faults))]
    if layers is None:
        faults.stop_here()
        raise AssertionError("a study without layers has faults")
    tree = with_profiles(layers, profile, faults)
    for setting in settings:
        tree = put(tree, setting, faults)
    study = _study(tree, Workshop(registry or Registry.for_study(path), faults), path)
    return replace(study, profiles=tuple(profile), settings=tuple(overrides))


def study_from_text(text: str, source: Path, registry: Registry) -> Study:
    """The study of a resolved text that stands in no file of its own. Raises `InvalidStudyError` with every fault."""
    faults = Faults()
    tree = parse_study(text, str(source), faults)
    faults.stop_here()
    assert tree is not None
    whole = normalised(tree)
    assert isinstance(whole, Block)
    return _study(whole, Workshop(registry, faults), source)


def profile_names(path: Path) -> tuple[str, ...]:
    """The profiles of a study file and of those it extends. Raises `InvalidStudyError` where it cannot be read."""
    faults = Faults()
    layers = read_layers(Path(path), faults)
    if layers is None:
        faults.stop_here()
    return tuple(layers.profiles) if layers else ()


def study_from_member(study: Study, member: Member, registry: Registry | None = None) -> Study:
    """The study of one point of a sweep: no sweep of its own, and with what the member sets written out.

    Its components come from `registry` or, without one, from the project of the study's file.
    """
    source = study.source or Path("study.yaml")
    faults = Faults()
    origin = Origin(str(source))
    tree = normalised(planted({key: value for key, value in study.document.items() if key != "sweep"}, origin))
    assert isinstance(tree, Block)
    for dotted, value in member.overrides.items():
        where = split(dotted)
        assert where is not None
        tree = put(tree, Setting(where, planted(value, origin), origin), faults)
    made = _study(tree, Workshop(registry or Registry.for_study(source), faults), source)
    return replace(made, profiles=study.profiles, settings=study.settings)


def _study(tree: Block, workshop: Workshop, source: Path) -> Study:
    """The study of a whole tree: its trunk, its branches, and the members of its sweep, each of them checked."""
    points = expand(tree, workshop.faults)
    fresh = tuple(unseen(points))
    check_extent(tree, fresh, workshop.faults)
    study = _with_branches(tree, workshop, source)
    for point in fresh:
        swept = tree.without("sweep")
        for setting in point:
            swept = put(swept, setting, workshop.faults)
        read_sections(swept, workshop, source.stem)
        build_branches(swept, workshop, title=source.stem, source=source)
    workshop.faults.stop_here()
    if study is None:
        raise StudyrunError(f"{source}: the study could not be put together, and no reason was found")
    sweep = sweep_of(tree)
    written: dict[str, Any] = {**study.document, **({"sweep": plain(sweep)} if sweep is not None else {})}
    return replace(
        study,
        members=tuple(member for member, _ in points),
        document=ordered(written),
        components=tuple(workshop.used.values()),
    )


def _with_branches(tree: Block, workshop: Workshop, source: Path) -> Study | None:
    study = assemble(tree, workshop, title=source.stem, source=source)
    branches = build_branches(tree, workshop, title=source.stem, source=source)
    if study is None or branches is None:
        return None
    made, written = branches
    return replace(study, branches=made, document={**study.document, **({"branches": written} if written else {})})


def _neighbours(path: Path) -> str:
    """What the user may have meant, among the study files beside the one that is not there."""
    try:
        near = nearest(path.name, (other.name for other in path.parent.glob("*.y*ml")))
    except OSError:
        return ""
    return f"; did you mean {path.parent / near}?" if near else ""
