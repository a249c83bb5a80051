"""The sources of a study's own components, copied into its run folder, so that the folder runs again by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from studyrun.errors import ComponentError, RunFolderError
from studyrun.registry import Listing, Registry
from studyrun.study.schema import Study
from studyrun.trace.atomic import write_atomically


def copy_sources(study: Study, folder: Path) -> None:
    """Write every component that is not built in to `folder`/plugins/<kind>/<name>.py. Raises `RunFolderError`."""
    for listing in _foreign(study):
        target = folder / "plugins" / listing.kind / f"{listing.name}.py"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(f"cannot write {target}: {error.strerror or error}") from error
        write_atomically(target, listing.source)


def _foreign(study: Study) -> Iterator[Listing]:
    """The components in use that do not come with the project, those that probes are drawn with included."""
    found = {(one.kind, one.name): one for one in (*study.components, *_default_figures(study))}
    yield from (one for one in found.values() if one.origin != "built-in")


def _default_figures(study: Study) -> Iterator[Listing]:
    """What the report draws for the study's probes, and the file therefore does not name."""
    registry = Registry.for_study(study.source) if study.source else Registry()
    for name in dict.fromkeys(name for entry in study.probes for name in entry.probe.figures):
        try:
            yield registry.find("figures", name)
        except ComponentError:
            continue  # the report says so, and draws the probe's channels instead
