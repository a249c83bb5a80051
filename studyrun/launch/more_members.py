"""A sweep that goes on: what its study asks for by now is written into the study of each member, which then goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from studyrun.engine.extending import changes
from studyrun.errors import RunFolderError
from studyrun.launch.more import recorded_study
from studyrun.registry import Registry
from studyrun.study import load_study, study_from_member
from studyrun.study.load import study_from_text
from studyrun.study.schema import Member, Study
from studyrun.trace.atomic import write_atomically
from studyrun.trace.folder import MemberEntry, parse_study, read_study

LONGER = ("stop", "branches")


def members_ask_for_more(folder: Path, entries: Sequence[MemberEntry]) -> bool:
    """Whether the sweep's study says of its members what the last of them, which is written last, does not have yet."""
    begun = [entry for entry in entries if (folder / entry.name / "study.yaml").is_file()]
    if not begun:
        return False
    own = {path.split(".", 1)[0] for path in begun[-1].overrides}
    whole, last = (parse_study(one, read_study(one) or "") for one in (folder, folder / begun[-1].name))
    return any(whole.get(key) != last.get(key) for key in LONGER if key not in own)


def take_further(folder: Path, entries: Sequence[MemberEntry], overrides: Sequence[str]) -> None:
    """Write what is asked for into the sweep's study, and then into those of its members.

    What a member sets itself stands. Raises `RunFolderError`, with nothing written, where a member cannot go on so.
    """
    study = load_study(folder / "study.yaml", overrides=overrides, registry=Registry.for_run(folder))
    if [one.name for one in study.members] != [one.name for one in entries]:
        raise RunFolderError(f"{folder}: what a sweep varies cannot change as it goes on; begin another with `run`")
    texts = dict(_texts(folder, study))
    if overrides and not texts:
        given = " ".join(f"--set {one}" for one in overrides)
        raise RunFolderError(f"{folder}: no member goes on with {given}, which each has, or sets itself")
    write_atomically(folder / "study.yaml", study.to_yaml())
    for path, text in texts.items():
        write_atomically(path, text)


def _texts(folder: Path, study: Study) -> Iterator[tuple[Path, str]]:
    """The studies of the members that have begun, where they are to be others."""
    for member in study.members:
        path = folder / member.name / "study.yaml"
        if path.is_file():
            text = _own(study, member, path).to_yaml()
            if text != read_study(path.parent):
                yield path, text


def _own(study: Study, member: Member, path: Path) -> Study:
    registry, recorded = Registry.for_run(path.parent), recorded_study(path.parent)
    own = study_from_member(study, member, registry)
    if recorded is not None:
        try:
            changes(study_from_text(recorded, path, registry), own)
        except RunFolderError as error:
            raise RunFolderError(f"{path.parent} cannot go on so: its study would have {error}") from error
    return own
