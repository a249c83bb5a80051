"""The bibliography: what the study cites, what its probes cite, and the `Source:` lines of every component it uses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from studyrun.errors import StudyrunError

if TYPE_CHECKING:
    from studyrun.registry import Registry
    from studyrun.trace.reader import Run

ARXIV = re.compile(r"arxiv[:\s]\s*(\d{4}\.\d{4,5})(v\d+)?", re.IGNORECASE)
DOI = re.compile(r"(?:doi[:\s]\s*)?(10\.\d{4,9}/[^\s;,]+[^\s;,.])", re.IGNORECASE)
PARAGRAPH = re.compile(r"^[ \t]*Sources?:[ \t]*(.+?)(?=\n[ \t]*\n|\Z)", re.DOTALL | re.MULTILINE)
SECTIONS = {
    "model": "models",
    "dataset": "datasets",
    "groups": "groups",
    "loss": "losses",
    "optimizer": "optimizers",
    "probes": "probes",
    "figures": "figures",
    "claims": "claims",
}


@dataclass
class Source:
    """One work: how it is named, where it is found, and what of this study rests on which part of it."""

    key: str
    link: str = ""
    text: str = ""
    users: list[str] = field(default_factory=list)


class Bibliography:
    """Sources in the order in which they were first met, one entry for each arXiv number or DOI."""

    def __init__(self) -> None:
        self._sources: dict[str, Source] = {}

    def __iter__(self) -> Iterator[Source]:
        return iter(self._sources.values())

    def add(self, text: str, user: str) -> None:
        """Add whatever works `text` names (several stand apart by semicolons), as used by `user`."""
        for part in filter(None, (part.strip(" .\n\t") for part in text.split(";"))):
            key, link, before, after = _identify(part)
            source = self._sources.setdefault(key, Source(key, link))
            source.text = source.text or before
            name = f"{user} ({after})" if after else user
            if name not in source.users:
                source.users.append(name)


def bibliography(run: Run, registry: Registry) -> Bibliography:
    """Collect the sources of one run. A component whose file is gone is passed over: its probe's `cites` remain."""
    found = Bibliography()
    for text in run.document.get("cites") or ():
        found.add(str(text), "this study")
    for kind, name in _components(run.document):
        try:
            docs = registry.docs(kind, name)
        except StudyrunError:
            continue
        for paragraph in PARAGRAPH.findall(docs):
            found.add(" ".join(paragraph.split()), name)
    for arm in run.arms.values():
        for probe in arm.probes.values():
            for text in str(probe.attributes.get("cites") or "").splitlines():
                found.add(text, probe.component)
    return found


def _components(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Kind and name of every component that the study names, in reading order."""
    blocks: list[tuple[str, Any]] = []
    for section, kind in SECTIONS.items():
        entry = document.get(section)
        blocks += [(kind, one) for one in entry] if isinstance(entry, list) else [(kind, entry)]
    branches = document.get("branches")
    stop = document.get("stop")
    triggers = [branch.get("at") for branch in branches.values()] if isinstance(branches, dict) else []
    blocks += [("triggers", one) for one in (*triggers, stop.get("when") if isinstance(stop, dict) else None)]
    named = ((kind, name) for kind, block in blocks for name in _name(block))
    yield from dict.fromkeys(named)


def _name(block: Any) -> Iterable[str]:
    name = block.get("use") if isinstance(block, dict) else block
    return (name,) if isinstance(name, str) else ()


def _identify(part: str) -> tuple[str, str, str, str]:
    """Key, link, the words before the identifier (authors, year) and those after it (section, equation)."""
    for pattern, prefix, address in ((ARXIV, "arXiv:", "https://arxiv.org/abs/"), (DOI, "doi:", "https://doi.org/")):
        if match := pattern.search(part):
            before, after = part[: match.start()], part[match.end() :]
            return prefix + match[1], address + match[1], before.strip(" ,("), after.strip(" ,).")
    return part, "", "", ""
