"""What the trace says of an arm beside its channels: where it forked, its threshold, what it cost."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from studyrun.engine.ledger import Ledger
from studyrun.study.schema import Branch, ProbeEntry, Study
from studyrun.trace.arm import NOT_STARTED
from studyrun.trace.channel import Channel
from studyrun.trace.layout import Attribute
from studyrun.trace.writer import TraceWriter


def arm_attributes(study: Study, branch: Branch | None, fork_of: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """What is known of an arm as it starts; `fork_of` reads the fork that a branch starts from."""
    threshold = study.optimizer.threshold()
    attributes: dict[str, Any] = {
        "parent": "",
        "fork_step": 0,
        "fork_time": 0.0,
        "optimizer": study.names.get("optimizer", ""),
        "learning_rate": study.optimizer.lr,
        "threshold": threshold.value if threshold else float("nan"),
        "threshold_quantity": threshold.quantity if threshold else "",
        "steps": 0,
        "seconds": 0.0,
    }
    if branch is not None:
        fork = fork_of(branch.name)
        state = fork["state"]
        attributes |= {"parent": branch.parent, "fork_step": state["step"], "fork_time": state["time"]}
        attributes |= {"trigger": fork["reason"], "trigger_value": fork["value"]}
        attributes |= {"trigger_threshold": fork["threshold"], "set": json.dumps(dict(branch.overrides))}
        if "quantity" in fork:  # forks of before do not say what was watched
            attributes["trigger_quantity"] = fork["quantity"]
    return attributes


def has_begun(writer: TraceWriter, arm: str) -> bool:
    """Whether the trace holds an arm that was ever started."""
    return arm in writer.arms and writer.attribute(arm, "state") != NOT_STARTED


def begin_arm(
    writer: TraceWriter,
    arm: str,
    attributes: Mapping[str, Attribute],
    probes: Sequence[ProbeEntry],
    channels: Mapping[str, tuple[Channel, ...]],
) -> None:
    """Add an arm with its probes; one that was put down as not started may start after all, in a run that goes on."""
    if arm not in writer.arms:
        writer.add_arm(arm, {})
    writer.set_arm(arm, **attributes)
    for entry in probes:
        writer.add_probe(arm, entry.label, channels[entry.label], probe_attributes(entry))


def note_not_started(writer: TraceWriter, branch: Branch, reason: str) -> None:
    """Add an arm that has no start, or say why it still has none."""
    if branch.name not in writer.arms:
        nothing: dict[str, Attribute] = {"fork_step": 0, "fork_time": 0.0, "steps": 0, "seconds": 0.0}
        writer.add_arm(branch.name, {"parent": branch.parent, **nothing})
    writer.set_arm(branch.name, state=NOT_STARTED, end_reason=reason)


def probe_attributes(entry: ProbeEntry) -> dict[str, Any]:
    """What a probe's group says of its component."""
    docstring = (type(entry.probe).__doc__ or "").strip()
    return {
        "label": entry.label,
        "component": entry.use,
        "description": docstring.splitlines()[0] if docstring else "",
        "cites": "\n".join(entry.probe.cites),
        "figures": "\n".join(entry.probe.figures),
    }


def write_costs(writer: TraceWriter, arm: str, costs: Ledger) -> None:
    """Set what the arm has cost so far, resumed stretches included."""
    shared: dict[str, float] = {}
    products: dict[str, int] = {}
    for account, seconds in costs.seconds.items():
        label = account.removeprefix("probe ")
        if account == label:
            shared[account] = round(seconds, 6)
            products[account] = costs.products[account]
        else:
            found = {"seconds": seconds, "calls": costs.calls[account], "matvecs": costs.products[account]}
            writer.set_probe(arm, label, **found)
    training = shared.pop("training", 0.0)
    products.pop("training", None)
    writer.set_arm(
        arm,
        seconds=sum(costs.seconds.values()),
        training_seconds=training,
        shared_seconds=json.dumps(shared),
        shared_matvecs=json.dumps(products),
    )
