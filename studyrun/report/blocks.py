"""Figures and claims as the resolved study names them: a bare name, or a block with `use`, `as` and options."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from studyrun.component import ComparingClaim, ComparingFigure
from studyrun.errors import ComponentError
from studyrun.registry import Registry

if TYPE_CHECKING:
    from studyrun.component import Component
    from studyrun.trace.reader import Run


@dataclass(frozen=True, slots=True)
class Block:
    """One entry: the component's name, its label, its options, and for which conditions of a sweep it is meant.

    `asked` is false for what nobody wrote down.
    """

    use: str
    label: str
    options: Mapping[str, Any] = field(default_factory=dict)
    where: Mapping[str, Any] = field(default_factory=dict)
    asked: bool = True


def blocks(entries: Iterable[Any]) -> Iterator[Block]:
    """The entries of `figures:` or `claims:`; a label used twice gets a number."""
    used: set[str] = set()
    for entry in entries:
        options: dict[str, Any] = dict(entry) if isinstance(entry, Mapping) else {"use": str(entry)}
        use = str(options.pop("use", ""))
        label = wanted = str(options.pop("as", None) or use)
        number = 2
        while label in used:
            label, number = f"{wanted}_{number}", number + 1
        used.add(label)
        where = options.pop("where", None) or {}
        yield Block(use, label, options, where)


def registry_of(run: Run) -> Registry:
    """The components within reach of a run: those of the project around it, never those that came with its folder."""
    return Registry.for_run(run.path)


def compares(kind: str, block: Block, run: Run) -> bool:
    """Whether the block names a component that is shown all conditions of a sweep at once."""
    try:
        return bool(block.use) and issubclass(_load(kind, block.use, run), ComparingFigure | ComparingClaim)
    except ComponentError:
        return False  # where it is built, that is said


def build(kind: str, block: Block, run: Run) -> Component:
    """Load the component that a block names and give it its options. Raises `ComponentError`."""
    from pydantic import ValidationError

    try:
        return _load(kind, block.use, run).model_validate(dict(block.options))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ComponentError(f"{kind} {block.use!r}: {faults}") from error


def _load(kind: str, name: str, run: Run) -> type[Component]:
    return registry_of(run).load(kind, name)
