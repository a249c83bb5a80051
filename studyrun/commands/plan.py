"""`run --dry-run`: what a study would do, found out as far as that goes without a step or a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import ceil
from typing import Any

from studyrun.commands.output import table, write, write_json
from studyrun.engine.run import Prepared, prepare
from studyrun.launch.folder import data_folder
from studyrun.study import Study, study_from_member
from studyrun.study.schedule import PerDecade, Schedule
from studyrun.study.schema import TRUNK, ProbeEntry


def show_plan(study: Study, as_json: bool) -> None:
    """Carry out the whole check before a run, and print the plan. Raises what the run would be refused for."""
    first = replace(study_from_member(study, study.members[0]), source=study.source) if study.members else study
    plan = plan_of(study, prepare(first, data_folder()))
    if as_json:
        write_json(plan)
    else:
        write("\n".join(_in_words(plan)))


def plan_of(study: Study, prepared: Prepared) -> dict[str, Any]:
    """The plan as plain data. Sizes are those of the sweep's first member."""
    problem, threshold = prepared.problem, study.optimizer.threshold()
    splits = {"train": problem.data.train, "test": problem.data.test}
    grouping = problem.grouping
    return {
        "title": study.title,
        "model": {"use": study.names["model"], "parameters": problem.parameters},
        "dataset": {
            "use": study.names["dataset"],
            "examples": {name: len(split) for name, split in splits.items() if split is not None},
            "groups": {name: len(indices) for name, indices in grouping.members.items()} if grouping else {},
        },
        "loss": study.names["loss"],
        "optimizer": {
            "use": study.names["optimizer"],
            "lr": study.optimizer.lr,
            "edge_of_stability": threshold.value if threshold else None,
        },
        "precision": study.precision,
        "device": str(problem.device),
        "seed": study.seed.model_dump(),
        "arms": list(_arms(study)),
        "probes": [_probe(entry, prepared) for entry in study.probes],
        "members": [{"name": one.name, "overrides": dict(one.overrides)} for one in study.members],
        "profiles": study.profiles,
        "settings": study.settings,
        "warnings": prepared.warnings,
    }


def _arms(study: Study) -> Iterator[dict[str, Any]]:
    written: Mapping[str, Any] = study.document.get("branches") or {}
    slowest = {TRUNK: study.optimizer.lr}
    stop = study.document["stop"]
    yield {"name": TRUNK, "parent": None, "at": None, "set": {}, "stop": stop, "steps": _steps(study, slowest[TRUNK])}
    for branch in study.branches:
        slowest[branch.name] = min(slowest[branch.parent], branch.study.optimizer.lr)
        yield {
            "name": branch.name,
            "parent": branch.parent,
            "at": written[branch.name]["at"],
            "set": dict(branch.overrides),
            "stop": branch.study.document.get("stop", stop),
            "steps": _steps(branch.study, slowest[branch.name]),
        }


def _steps(study: Study, lr: float) -> int | None:
    """A bound on an arm's last step, were it always at its slowest learning rate; None where nothing bounds it."""
    by_time = ceil(study.stop.time / lr) if study.stop.time is not None else None
    return min((steps for steps in (study.stop.steps, by_time) if steps is not None), default=None)


def _probe(entry: ProbeEntry, prepared: Prepared) -> dict[str, Any]:
    channels = prepared.channels[entry.label]
    return {
        "label": entry.label,
        "use": entry.use,
        "due": due_in_words(entry.schedule),
        "channels": {one.name: {dim.name: dim.size for dim in one.dims} for one in channels},
    }


def due_in_words(schedule: Schedule) -> str:
    """A schedule as people say it."""
    if schedule.at is not None:
        return f"at step {', '.join(map(str, schedule.at))}"
    if isinstance(schedule.every, PerDecade):
        return f"at {schedule.every.log} steps a decade"
    return "every step" if (schedule.every or 1) == 1 else f"every {schedule.every} steps"


def _in_words(plan: Mapping[str, Any]) -> Iterator[str]:
    optimizer, dataset = plan["optimizer"], plan["dataset"]
    edge = f", edge of stability {optimizer['edge_of_stability']:.6g}" if optimizer["edge_of_stability"] else ""
    counts = ", ".join(f"{count} {name}" for name, count in dataset["examples"].items())
    yield plan["title"]
    yield from table(
        [
            ["model", f"{plan['model']['use']}, {plan['model']['parameters']:,} parameters"],
            ["dataset", f"{dataset['use']}, {counts}"],
            *(
                [["groups", ", ".join(f"{count} {name}" for name, count in dataset["groups"].items())]]
                * bool(dataset["groups"])
            ),
            ["loss", plan["loss"]],
            ["optimizer", f"{optimizer['use']}, lr {optimizer['lr']:g}{edge}"],
            ["computed", f"in {plan['precision']} on {plan['device']}"],
        ],
        indent="  ",
    )
    yield "arms"
    yield from table([_arm_row(arm) for arm in plan["arms"]], indent="  ")
    yield "probes"
    yield from table([_probe_row(probe) for probe in plan["probes"]] or [["none", ""]], indent="  ")
    if plan["members"]:
        yield f"members ({len(plan['members'])})"
        yield from (f"  {member['name']}" for member in plan["members"])
    yield from (f"warning: {text}" for text in plan["warnings"])
    yield "checked as before a run: all data, groups, batches, derivatives, and every arm's probes and triggers"
    yield "nothing was run, and nothing was written"


def _arm_row(arm: Mapping[str, Any]) -> list[str]:
    ends = f"at most {arm['steps']:,} steps" if arm["steps"] is not None else "ends by its loss or a trigger"
    if arm["parent"] is None:
        return [arm["name"], "from the start", ends]
    at = arm["at"]
    where = ", ".join(f"{key} {value}" for key, value in at.items() if key != "use" and value is not None)
    changes = ", ".join(f"{path} = {value}" for path, value in arm["set"].items()) or "nothing set"
    return [arm["name"], f"from {arm['parent']} at {at['use']}{f' ({where})' if where else ''}: {changes}", ends]


def _probe_row(probe: Mapping[str, Any]) -> list[str]:
    shapes = (f"{name}({', '.join(dims)})" if dims else name for name, dims in probe["channels"].items())
    name = probe["label"] if probe["label"] == probe["use"] else f"{probe['label']} ({probe['use']})"
    return [name, probe["due"], ", ".join(shapes)]
