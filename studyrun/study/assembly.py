"""Checked sections to a study, and to the document that says all of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from studyrun.component import Options, Probe
from studyrun.study.components import Built, Workshop
from studyrun.study.options import as_document
from studyrun.study.schedule import Schedule
from studyrun.study.schema import ClaimEntry, FigureEntry, ProbeEntry, Stop, Study
from studyrun.study.sections import COMPONENTS, KEYS, Sections, read_sections
from studyrun.study.tree import Block

Entry = TypeVar("Entry", FigureEntry, ClaimEntry)


def assemble(tree: Block, workshop: Workshop, *, title: str, source: Path | None) -> Study | None:
    """The study of a tree, without branches and sweep; None with the reasons among the workshop's faults."""
    sections = read_sections(tree, workshop, title)
    if sections is None:
        return None
    components: dict[str, Any] = {name: one.component for name, one in sections.components.items()}
    components.setdefault("groups", None)
    when: Any = sections.when.component if sections.when else None
    return Study(
        **dict(sections.settings),
        **components,
        seed=sections.seed,
        stop=Stop(**dict(sections.limits), when=when),
        probes=tuple(map(_probe_entry, sections.listed.get("probes", ()))),
        branches=(),
        figures=_entries(FigureEntry, sections.listed["figures"]) if "figures" in sections.listed else None,
        claims=_entries(ClaimEntry, sections.listed.get("claims", ())),
        checkpoints=sections.checkpoints,
        members=(),
        document=_document(sections),
        names={name: one.use for name, one in sections.components.items()},
        source=source,
    )


def _probe_entry(built: Built) -> ProbeEntry:
    return ProbeEntry(built.label, built.use, cast(Probe, built.component), cast(Schedule, built.schedule))


def _entries(entry: type[Entry], listed: tuple[Built, ...]) -> tuple[Entry, ...]:
    return tuple(entry(one.label, one.use, cast(Any, one.component)) for one in listed)


def _document(sections: Sections) -> dict[str, Any]:
    """The study as plain data with nothing left out, in the order of the design's example."""
    seeds = as_document(sections.seed)
    written: dict[str, Any] = as_document(sections.settings)
    written["seed"] = sections.seed.init if len(set(seeds.values())) == 1 else seeds
    written |= {name: sections.components[name].document for name in COMPONENTS if name in sections.components}
    when = {"when": sections.when.document} if sections.when else {}
    written["stop"] = {**_given(sections.limits), **when}
    written |= {name: [one.document for one in listed] for name, listed in sections.listed.items()}
    written["checkpoints"] = _given(sections.checkpoints)
    return ordered(written)


def ordered(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with its sections in the order in which a reader expects them."""
    return {key: document[key] for key in KEYS if key in document}


def _given(options: Options) -> dict[str, Any]:
    return {key: value for key, value in as_document(options).items() if value is not None}
