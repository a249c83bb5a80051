"""The sections of a study, one check for each; together they find everything that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

from studyrun.component import Component, Options, Probe, Trigger
from studyrun.stopping import heed
from studyrun.study.components import Built, Workshop
from studyrun.study.merging import label_of
from studyrun.study.options import build, option_names
from studyrun.study.schema import Checkpoints, Limits, Seeds, Settings
from studyrun.study.tree import Block, Items, Node, Scalar, Where, described, suggestion

COMPONENTS = {"model": "models", "dataset": "datasets", "groups": "groups", "loss": "losses", "optimizer": "optimizers"}
"""The sections that hold one component, and its kind."""
LISTS = ("probes", "figures", "claims")
REQUIRED = ("model", "dataset", "loss", "optimizer", "stop")
SETTINGS = option_names(Settings)
KEYS = (*SETTINGS, "seed", *COMPONENTS, "stop", "probes", "branches", "figures", "claims", "checkpoints", "sweep")
FILE_KEYS = (*KEYS, "profiles", "extends")
Plain = TypeVar("Plain", bound=Options)


@dataclass(frozen=True, slots=True)
class Sections:
    """What a tree's sections were made into. `listed` holds only the lists that the study has."""

    settings: Settings
    seed: Seeds
    components: Mapping[str, Built]
    limits: Limits
    when: Built | None
    listed: Mapping[str, tuple[Built, ...]]
    checkpoints: Checkpoints


def read_sections(tree: Block, workshop: Workshop, title: str) -> Sections | None:
    """Check every section but branches and sweep; None with the reasons among the workshop's faults."""
    _check_keys(tree, workshop)
    settings = _settings(tree, workshop, title)
    seed = _options(Seeds, tree, "seed", workshop)
    checkpoints = _options(Checkpoints, tree, "checkpoints", workshop)
    stop = _stop(tree, workshop)
    present = {name: node for name in (*COMPONENTS, *LISTS) if (node := tree.get(name)) is not None}
    components = {
        name: workshop.build(kind, present[name], (name,)) for name, kind in COMPONENTS.items() if name in present
    }
    listed = {name: _listed(present[name], name, workshop) for name in LISTS if name in present}
    made = {name: one for name, one in components.items() if one is not None}
    whole = {name: one for name, one in listed.items() if one is not None}
    if len(made) < len(components) or len(whole) < len(listed) or not set(REQUIRED) - {"stop"} <= set(made):
        return None
    if settings is None or seed is None or checkpoints is None or stop is None:
        return None
    if "probes" in whole and not _nested_triggers_watch(tree, whole["probes"], workshop):
        return None
    if checkpoints.best is not None and not _finds_best(tree, checkpoints, workshop):
        return None
    return Sections(settings, seed, made, *stop, whole, checkpoints)


def trigger_of(node: Node, where: Where, tree: Block, workshop: Workshop) -> Built | None:
    """The trigger of a block, with the probes it watches looked for in the study."""
    built = workshop.build("triggers", node, where)
    if built is None or not _finds_what_it_watches(built.component, built.use, node, where, tree, workshop):
        return None
    return built


def _finds_what_it_watches(
    trigger: Component, use: str, node: Node, where: Where, tree: Block, workshop: Workshop
) -> bool:
    labels = _labels_of(tree, workshop)
    watched = _watched(cast(Trigger, trigger), node, where, workshop)
    missing = [label for label in watched or () if label not in labels]
    for label in missing:
        values = node.entries.values() if isinstance(node, Block) else ()
        named = [value for value in values if isinstance(value, Scalar) and value.value == label]
        origin = named[0].origin if named else node.origin
        message = f"the trigger {use!r} watches a probe labelled {label!r}, and there is none"
        workshop.faults.add(origin, where, f"{message}; {suggestion(label, labels)}")
    return not missing and watched is not None


def _nested_triggers_watch(tree: Block, probes: tuple[Built, ...], workshop: Workshop) -> bool:
    """Whether the triggers among the probes' options find the probes that they watch."""
    node = cast(Items, tree.get("probes"))
    return workshop.once("watching", (node,), lambda: _all_watch(tree, node, probes, workshop))


def _all_watch(tree: Block, node: Items, probes: tuple[Built, ...], workshop: Workshop) -> bool:
    found = []
    for index, built in enumerate(probes):
        block = cast(Block, node.items[index])
        for option, trigger in cast(Probe, built.component).triggers().items():
            inner, where = block.get(option) or block, ("probes", str(index), option)
            found.append(_finds_what_it_watches(trigger, built.document[option]["use"], inner, where, tree, workshop))
    return all(found)


def _finds_best(tree: Block, checkpoints: Checkpoints, workshop: Workshop) -> bool:
    """Whether there is a probe of the label that `checkpoints.best` names."""
    labels, (label, _, which) = _labels_of(tree, workshop), checkpoints.best_channel
    where = ("checkpoints", "best", which) if which else ("checkpoints", "best")
    node: Node | None = tree
    for key in where:
        node = node.get(key) if isinstance(node, Block) else None
    if label not in labels and node is not None:
        message = f"no probe of the study is labelled {label!r}; {suggestion(label, labels)}"
        workshop.faults.add(node.origin, where, message)
    return label in labels


def _watched(trigger: Trigger, node: Node, where: Where, workshop: Workshop) -> tuple[str, ...] | None:
    try:
        labels = trigger.watches()
        return (labels,) if isinstance(labels, str) else tuple(labels)
    except Exception as error:  # noqa: BLE001  a plugin may raise anything
        heed()
        message = f"asking this trigger what it watches raised {type(error).__name__}: {error}"
        workshop.faults.add(node.origin, where, message)
        return None


def _labels_of(tree: Block, workshop: Workshop) -> Mapping[str, None]:
    """The labels of the study's probes, whether or not those can be built."""
    probes = tree.get("probes")
    if not isinstance(probes, Items):
        return {}
    labels = map(label_of, probes.items)
    return workshop.once("labels", (probes,), lambda: dict.fromkeys(label for label in labels if label))


def _check_keys(tree: Block, workshop: Workshop) -> None:
    for key in tree.entries:
        if key not in KEYS:
            workshop.faults.add(tree.keys[key], key, f"there is no section {key!r}; {suggestion(key, FILE_KEYS)}")
    for key in REQUIRED:
        if tree.get(key) is None:
            message = f"the section {key!r} is missing; every study has {', '.join(REQUIRED)}"
            workshop.faults.add(tree.origin, key, message)


def _settings(tree: Block, workshop: Workshop, title: str) -> Settings | None:
    given = {key: tree.entries[key] for key in SETTINGS if tree.get(key) is not None}
    nodes = tuple(given.values())
    given.setdefault("title", Scalar(title, tree.origin))
    block = Block(given, tree.keys, tree.origin)
    return workshop.once(Settings, nodes, lambda: build(Settings, block, (), workshop.faults))


def _options(contract: type[Plain], tree: Block, key: str, workshop: Workshop) -> Plain | None:
    node = tree.get(key)
    if node is None:
        return contract()
    if not isinstance(node, Block):
        number = "a whole number or " if key == "seed" else ""
        wanted = f"{number}a block with any of {', '.join(option_names(contract))}"
        workshop.faults.add(node.origin, key, f"{described(node)} is wrong here; {wanted} would be right")
        return None
    return workshop.once(contract, (node,), lambda: build(contract, node, (key,), workshop.faults))


def _stop(tree: Block, workshop: Workshop) -> tuple[Limits, Built | None] | None:
    node = tree.get("stop")
    known = (*option_names(Limits), "when")
    if not isinstance(node, Block):
        if node is not None:  # where it is missing, that has been said
            wanted = f"a block with any of {', '.join(known)}"
            workshop.faults.add(node.origin, "stop", f"{described(node)} is wrong here; {wanted} would be right")
        return None
    when = node.get("when")
    trigger = trigger_of(when, ("stop", "when"), tree, workshop) if when is not None else None
    block = node.without("when")
    limits = workshop.once(Limits, (node,), lambda: build(Limits, block, ("stop",), workshop.faults, known))
    if limits is not None and all(node.get(key) is None for key in known):
        message = f"holds no condition; at least one of {', '.join(known)} would be right"
        workshop.faults.add(node.origin, "stop", message)
        return None
    return None if limits is None or (when is not None and trigger is None) else (limits, trigger)


def _listed(node: Node, section: str, workshop: Workshop) -> tuple[Built, ...] | None:
    return workshop.once(section, (node,), lambda: _list(node, section, workshop))


def _list(node: Node, section: str, workshop: Workshop) -> tuple[Built, ...] | None:
    if not isinstance(node, Items):
        workshop.faults.add(node.origin, section, f"{described(node)} is wrong here; a list would be right")
        return None
    found = [workshop.build(section, item, (section, str(index))) for index, item in enumerate(node.items)]
    built = tuple(one for one in found if one is not None)
    return built if _labels_differ(node, section, workshop) and len(built) == len(found) else None


def _labels_differ(node: Items, section: str, workshop: Workshop) -> bool:
    seen: dict[str, Node] = {}
    for index, item in enumerate(node.items):
        label = label_of(item)
        if label in seen:
            line = seen[label].origin.line
            where = f"on line {line}" if line else "already"
            message = f"the label {label!r} is taken {where}; give one of them another with `as`"
            workshop.faults.add(item.origin, (section, str(index)), message)
        elif label is not None:
            seen[label] = item
    return len(seen) == len(node.items)
