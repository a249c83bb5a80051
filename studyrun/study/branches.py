"""Branches: from which arm, when, and what each sets; each one's own study is checked like the trunk's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from studyrun.component import Trigger
from studyrun.study.assembly import assemble
from studyrun.study.components import Workshop, check_label
from studyrun.study.merging import Setting, put
from studyrun.study.overrides import split
from studyrun.study.schema import TRUNK, Branch
from studyrun.study.sections import trigger_of
from studyrun.study.tree import Block, Scalar, described, plain, suggestion

KEYS = ("at", "from", "set")
MAY_SET = ("optimizer", "loss", "stop")
"""What can change at a fork. The rest (model, data, precision, ...) is what makes the arms comparable."""


def build_branches(
    tree: Block, workshop: Workshop, *, title: str, source: Path | None
) -> tuple[tuple[Branch, ...], Mapping[str, Any]] | None:
    """The branches, parents first, and their part of the document; None with the reasons among the faults."""
    node = tree.get("branches")
    if node is None:
        return (), {}
    if not isinstance(node, Block):
        workshop.faults.add(
            node.origin, "branches", f"{described(node)} is wrong here; a block of named branches would be right"
        )
        return None
    return _Branches(tree, node, workshop, title, source).build()


class _Branches:
    """The branches of one study in the making."""

    def __init__(self, tree: Block, node: Block, workshop: Workshop, title: str, source: Path | None) -> None:
        self.tree, self.node, self.workshop, self.faults = tree, node, workshop, workshop.faults
        self.title, self.source = title, source
        self.blocks = self._blocks()
        self.parents = {name: self._parent(name, block) for name, block in self.blocks.items()}
        self.trees = {TRUNK: tree.without("branches", "sweep")}

    def build(self) -> tuple[tuple[Branch, ...], Mapping[str, Any]] | None:
        """Build each branch after its parent, whose changes it inherits."""
        branches = [self._branch(name) for name in self._in_order()]
        wanted = sum(self.node.get(name) is not None for name in self.node.entries)
        if None in branches or len(branches) < wanted:
            return None
        made = {branch.name: branch for branch in cast("list[Branch]", branches)}
        return tuple(made.values()), {name: self._document(made[name]) for name in made}

    def _blocks(self) -> dict[str, Block]:
        found = {}
        for name, block in self.node.entries.items():
            if self.node.get(name) is None or not self._is_name(name):
                continue
            if not isinstance(block, Block):
                message = f"{described(block)} is wrong here; a block with `at` and perhaps `set` would be right"
                self.faults.add(block.origin, ("branches", name), message)
                continue
            found[name] = block
            for key in block.entries:
                if key not in KEYS:
                    message = f"a branch has no {key!r}; {suggestion(key, KEYS)}"
                    self.faults.add(block.keys[key], ("branches", name, key), message)
        return found

    def _is_name(self, name: str) -> bool:
        try:
            check_label(name, "the branch")
        except ValueError as error:
            self.faults.add(self.node.keys[name], ("branches", name), str(error))
            return False
        if name == TRUNK:
            self.faults.add(self.node.keys[name], ("branches", name), f"{TRUNK!r} is the trunk's name; choose another")
        return name != TRUNK

    def _parent(self, name: str, block: Block) -> str | None:
        node = block.get("from")
        if node is None:
            return TRUNK
        arm = node.value if isinstance(node, Scalar) else None
        if isinstance(arm, str) and (arm == TRUNK or arm in self.blocks):
            return arm
        others = (TRUNK, *(other for other in self.blocks if other != name))
        message = f"{described(node)} is no arm of this study; {suggestion(str(plain(node)), others)}"
        self.faults.add(node.origin, ("branches", name, "from"), message)
        return None

    def _in_order(self) -> list[str]:
        """The names, parents first. Those that descend from each other are left out, each with a fault."""
        rank = {name: index for index, name in enumerate(self.blocks)}
        children: defaultdict[str | None, list[str]] = defaultdict(list)
        for name, parent in self.parents.items():
            children[parent].append(name)
        generation = sorted((*children[TRUNK], *children[None]), key=rank.__getitem__)
        placed: dict[str, None] = {}
        while generation:
            placed |= dict.fromkeys(generation)
            generation = sorted((child for name in generation for child in children[name]), key=rank.__getitem__)
        left = [name for name in self.blocks if name not in placed]
        for name in left:
            origin = self.blocks[name].entries["from"].origin
            message = f"the branches {', '.join(left)} fork from each other in a circle; one must fork from {TRUNK!r}"
            self.faults.add(origin, ("branches", name, "from"), message)
        return list(placed)

    def _branch(self, name: str) -> Branch | None:
        block = self.blocks[name]
        parent = self.parents[name]
        trigger = self._trigger(name, block)
        settings = self._settings(name, block)
        below = self.trees.get(parent or TRUNK, self.trees[TRUNK])
        for setting in settings or ():
            below = put(below, setting, self.faults)
        self.trees[name] = below
        before = len(self.faults.found)
        study = assemble(below, self.workshop, title=self.title, source=self.source)
        if study is None or trigger is None or settings is None or parent is None or len(self.faults.found) > before:
            return None
        overrides = {setting.path: plain(setting.value) for setting in settings}
        return Branch(name, parent, trigger[0], trigger[1], overrides, study)

    def _trigger(self, name: str, block: Block) -> tuple[Trigger, str] | None:
        node = block.get("at")
        if node is None:
            names = tuple(listing.name for listing in self.workshop.registry.names("triggers"))
            message = f"`at` is missing: the trigger that starts this branch; {suggestion('', names)}"
            self.faults.add(block.origin, ("branches", name), message)
            return None
        built = trigger_of(node, ("branches", name, "at"), self.tree, self.workshop)
        return None if built is None else (cast(Trigger, built.component), built.use)

    def _settings(self, name: str, block: Block) -> list[Setting] | None:
        """What the branch sets, as dotted paths; None if any of it may not be set."""
        node = block.get("set")
        if node is None:
            return []
        if not isinstance(node, Block):
            message = f"{described(node)} is wrong here; a block would be right: {{optimizer.lr: 0.1}}"
            self.faults.add(node.origin, ("branches", name, "set"), message)
            return None
        settings, sound = [], True
        for path, value in node.entries.items():
            where = split(path)
            if where is None or where[0] not in MAY_SET:
                message = f"a branch cannot set {path!r}; it may set {', '.join(MAY_SET)} and what is below them"
                self.faults.add(node.keys[path], ("branches", name, "set", path), message)
                sound = False
            else:
                settings.append(Setting(where, value, node.keys[path]))
        return settings if sound else None

    def _document(self, branch: Branch) -> dict[str, Any]:
        at = self.workshop.build("triggers", self.blocks[branch.name].entries["at"], ("branches", branch.name, "at"))
        assert at is not None
        origin = {} if branch.parent == TRUNK else {"from": branch.parent}
        return {**origin, "at": at.document, "set": dict(branch.overrides)}
