"""A tree to a study: every section checked, every fault noted, the resolved document written out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from studyrun.component import Claim, Dataset, Figure, Groups, Loss, Model, Optimizer, Options, Probe, Trigger
from studyrun.study.components import Built, Workshop
from studyrun.study.merging import PURPOSES, label_of
from studyrun.study.options import as_document, build, option_names
from studyrun.study.schedule import Schedule
from studyrun.study.schema import Checkpoints, ClaimEntry, FigureEntry, Limits, ProbeEntry, Seeds, Settings, Stop, Study
from studyrun.study.tree import Block, Items, Node, Scalar, Where, described, suggestion

SECTIONS = {"model": "models", "dataset": "datasets", "groups": "groups", "loss": "losses", "optimizer": "optimizers"}
REQUIRED = ("model", "dataset", "loss", "optimizer", "stop")
SETTINGS = option_names(Settings)
KEYS = (*SETTINGS, "seed", *SECTIONS, "stop", "probes", "branches", "figures", "claims", "checkpoints", "sweep")
FILE_KEYS = (*KEYS, "profiles", "extends")
Plain = TypeVar("Plain", bound=Options)


def assemble(tree: Block, workshop: Workshop, *, title: str, source: Path | None) -> Study | None:
    """The study of a tree, without branches and sweep; None with the reasons among the workshop's faults."""
    _check_keys(tree, workshop)
    settings = _settings(tree, workshop, title)
    seed = _options(Seeds, tree, "seed", workshop)
    checkpoints = _options(Checkpoints, tree, "checkpoints", workshop)
    stop = _stop(tree, workshop)
    sections = {name: workshop.build(kind, node, (name,)) for name, kind, node in _sections(tree)}
    lists = {name: _list(tree, name, workshop) for name in ("probes", "figures", "claims")}
    if settings is None or seed is None or checkpoints is None or stop is None or None in lists.values():
        return None
    if None in sections.values() or any(name not in sections for name in REQUIRED if name in SECTIONS):
        return None
    made = cast("dict[str, Built]", sections)
    listed = cast("dict[str, list[Built]]", lists)
    return Study(
        **dict(settings),
        seed=seed,
        model=cast(Model, made["model"].component),
        dataset=cast(Dataset, made["dataset"].component),
        groups=cast(Groups, made["groups"].component) if "groups" in made else None,
        loss=cast(Loss, made["loss"].component),
        optimizer=cast(Optimizer, made["optimizer"].component),
        stop=stop[0],
        probes=tuple(
            ProbeEntry(one.label, one.use, cast(Probe, one.component), cast(Schedule, one.schedule))
            for one in listed["probes"]
        ),
        branches=(),
        figures=None
        if tree.get("figures") is None
        else tuple(FigureEntry(one.label, one.use, cast(Figure, one.component)) for one in listed["figures"]),
        claims=tuple(ClaimEntry(one.label, one.use, cast(Claim, one.component)) for one in listed["claims"]),
        checkpoints=checkpoints,
        members=(),
        document=_document(tree, settings, seed, made, stop[1], listed, checkpoints),
        names={name: one.use for name, one in made.items()},
        source=source,
    )


def labels_of(tree: Block) -> tuple[str, ...]:
    """The labels of the study's probes, whether or not those can be built."""
    probes = tree.get("probes")
    return tuple(filter(None, map(label_of, probes.items))) if isinstance(probes, Items) else ()


def trigger_of(node: Node, where: Where, tree: Block, workshop: Workshop) -> Built | None:
    """The trigger of a block, with the probes it watches looked for in the study."""
    built = workshop.build("triggers", node, where)
    if built is None:
        return None
    labels = labels_of(tree)
    missing = [label for label in cast(Trigger, built.component).watches() if label not in labels]
    for label in missing:
        named = [
            value for value in cast(Block, node).entries.values() if isinstance(value, Scalar) and value.value == label
        ]
        origin = named[0].origin if named else node.origin
        message = f"the trigger {built.use!r} watches a probe labelled {label!r}, and there is none"
        workshop.faults.add(origin, where, f"{message}; {suggestion(label, labels)}")
    return None if missing else built


def _check_keys(tree: Block, workshop: Workshop) -> None:
    for key in tree.entries:
        if key not in KEYS:
            workshop.faults.add(tree.keys[key], key, f"there is no section {key!r}; {suggestion(key, FILE_KEYS)}")
    for key in REQUIRED:
        if tree.get(key) is None:
            workshop.faults.add(
                tree.origin, key, f"the section {key!r} is missing; every study has {', '.join(REQUIRED)}"
            )


def _settings(tree: Block, workshop: Workshop, title: str) -> Settings | None:
    given = {key: tree.entries[key] for key in SETTINGS if tree.get(key) is not None}
    given.setdefault("title", Scalar(title, tree.origin))
    return build(Settings, Block(given, tree.keys, tree.origin), (), workshop.faults)


def _options(contract: type[Plain], tree: Block, key: str, workshop: Workshop) -> Plain | None:
    node = tree.get(key)
    if node is None:
        return contract()
    if not isinstance(node, Block):
        known = ", ".join(option_names(contract))
        number = "a whole number or " if key == "seed" else ""
        message = f"{described(node)} is wrong here; {number}a block with any of {known} would be right"
        workshop.faults.add(node.origin, key, message)
        return None
    return build(contract, node, (key,), workshop.faults)


def _sections(tree: Block) -> Iterator[tuple[str, str, Node]]:
    for name, kind in SECTIONS.items():
        node = tree.get(name)
        if node is not None:
            yield name, kind, node


def _stop(tree: Block, workshop: Workshop) -> tuple[Stop, Mapping[str, Any]] | None:
    node = tree.get("stop")
    known = (*option_names(Limits), "when")
    if not isinstance(node, Block):
        if node is not None:
            message = f"{described(node)} is wrong here; a block with any of {', '.join(known)} would be right"
            workshop.faults.add(node.origin, "stop", f"{message}: {{steps: 100}}")
        return None
    when = node.get("when")
    trigger = trigger_of(when, ("stop", "when"), tree, workshop) if when is not None else None
    limits = build(Limits, node.without("when"), ("stop",), workshop.faults, known)
    if all(node.get(key) is None for key in known) and limits is not None:
        workshop.faults.add(
            node.origin, "stop", f"holds no condition; at least one of {', '.join(known)} would be right"
        )
        return None
    if limits is None or (when is not None and trigger is None):
        return None
    document = {key: value for key, value in as_document(limits).items() if value is not None}
    if trigger is not None:
        document["when"] = trigger.document
    return Stop(**dict(limits), when=cast(Trigger, trigger.component) if trigger else None), document


def _list(tree: Block, section: str, workshop: Workshop) -> list[Built] | None:
    node = tree.get(section)
    if node is None:
        return []
    if not isinstance(node, Items):
        workshop.faults.add(
            node.origin, section, f"{described(node)} is wrong here; a list would be right: [{section}]"
        )
        return None
    built = [workshop.build(section, item, (section, str(index))) for index, item in enumerate(node.items)]
    twice = _check_labels(node, section, workshop)
    return None if twice or None in built else cast("list[Built]", built)


def _check_labels(node: Items, section: str, workshop: Workshop) -> bool:
    seen: dict[str, Node] = {}
    twice = False
    for index, item in enumerate(node.items):
        label = label_of(item)
        if label in seen:
            message = (
                f"the label {label!r} is taken on line {seen[label].origin.line}; give one of them another with `as`"
            )
            workshop.faults.add(item.origin, (section, str(index)), message)
            twice = True
        elif label is not None:
            seen[label] = item
    return twice


def _document(
    tree: Block,
    settings: Settings,
    seed: Seeds,
    sections: Mapping[str, Built],
    stop: Mapping[str, Any],
    lists: Mapping[str, list[Built]],
    checkpoints: Checkpoints,
) -> dict[str, Any]:
    """The study as plain data with nothing left out, in the order of the design's example."""
    seeds = as_document(seed)
    plain_settings = as_document(settings)
    document: dict[str, Any] = {"title": plain_settings.pop("title"), "cites": plain_settings.pop("cites")}
    document["seed"] = seed.init if len({seeds[purpose] for purpose in PURPOSES}) == 1 else seeds
    document |= plain_settings
    document |= {name: sections[name].document for name in SECTIONS if name in sections}
    document["stop"] = stop
    for name, listed in lists.items():
        if tree.get(name) is not None:
            document[name] = [one.document for one in listed]
    document["checkpoints"] = {key: value for key, value in as_document(checkpoints).items() if value is not None}
    return document
