"""`list`: every component within reach, read from its source without importing it."""

from __future__ import annotations

from studyrun.commands.kinds import kind_named, registry_here
from studyrun.commands.output import table, write, write_json
from studyrun.registry import Listing


def list_components(kind: str | None, as_json: bool) -> None:
    """Print the components of one kind, or of all."""
    registry = registry_here()
    kinds = [kind_named(kind)] if kind else registry.kinds()
    found = {name: registry.names(name) for name in kinds}
    if as_json:
        write_json([_as_data(listing) for listings in found.values() for listing in listings])
        return
    width = max((len(listing.name) for listings in found.values() for listing in listings), default=0)
    for name, listings in found.items():
        write(name)
        rows = [[listing.name.ljust(width), _summary(listing)] for listing in listings]
        write("\n".join(table(rows or [["none", ""]], indent="  ")))


def _summary(listing: Listing) -> str:
    origin = "" if listing.origin == "built-in" else f" [{listing.origin}: {listing.path}]"
    return f"{listing.summary or 'no docstring'}{origin}"


def _as_data(listing: Listing) -> dict[str, str]:
    return {
        "name": listing.name,
        "kind": listing.kind,
        "origin": listing.origin,
        "path": str(listing.path),
        "summary": listing.summary,
    }
