"""Run folders whose every number is known in closed form: a plausible edge of stability without any training.

In effective time τ the baseline's sharpness climbs along a line, meets its threshold 2/η at τ*, and stays above it
with a ripple. The exit arm forks at the first measurement past τ*, halves η, and climbs on to twice the threshold.
Losses are the same function of τ in both arms up to the fork; after it the exit arm's exceeds the baseline's by
`gap`, positive for input outliers (the edge helped them) and negative for inliers. Runs differ by their seed in slope
and scale.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from studyrun.trace.channel import Channel, Dimension, eigenpair_evidence
from studyrun.trace.writer import TraceWriter

GROUPS = ("inlier", "boundary", "input_outlier", "output_outlier")
TITLE = "Which examples does the edge of stability favour?"
CITES = ["arXiv:2606.04212", "arXiv:2311.04163"]
EXAMPLES = 60
MEMBERS = 5
EVERY = 10
PER_EXAMPLE_EVERY = 50
CURVATURE = "loss / parameter²"

# group: (initial loss, decay time, what leaving the edge adds to the loss in the long run, alignment with v1)
_CHARACTER = {
    "inlier": (0.30, 1.5, -0.010, 0.02),
    "boundary": (0.55, 3.0, 0.004, 0.05),
    "input_outlier": (0.80, 5.0, 0.120, 0.35),
    "output_outlier": (0.95, 9.0, 0.030, 0.15),
}


@dataclass(frozen=True)
class Law:
    """The closed forms of one run. `lr` is the baseline's; the exit arm has half of it."""

    seed: int
    lr: float

    @property
    def slope(self) -> float:
        return 0.6 / self.lr * (1.003 + 0.02 * (self.seed % 7))

    def threshold(self, lr: float) -> float:
        return 2 / lr

    def fork_step(self) -> int:
        """The first measured step, a multiple of `EVERY`, at which the baseline's sharpness has met its threshold."""
        reach = (self.threshold(self.lr) - 10) / self.slope / self.lr
        return int(np.ceil(reach / EVERY)) * EVERY

    def fork_time(self) -> float:
        return self.fork_step() * self.lr

    def sharpness(self, time: float, lr: float) -> np.ndarray:
        """The two top eigenvalues at effective time `time` in the arm that runs at `lr`."""
        climbing = 10 + self.slope * time
        ripple = 1.03 + 0.03 * np.sin(40 * time)
        top = climbing if climbing < self.threshold(lr) else self.threshold(lr) * ripple
        return np.array([top, 0.6 * top])

    def gap(self, group: str, time: float, lr: float) -> float:
        """What an arm at `lr` has more in loss than the baseline: zero at the fork, then growing to its limit."""
        if lr == self.lr or time <= self.fork_time():
            return 0.0
        scale = 1 + 0.1 * (self.seed % 5)
        return _character(group)[2] * scale * (1 - np.exp(self.fork_time() - time))

    def group_loss(self, group: str, time: float, lr: float) -> float:
        first, decay, _, _ = _character(group)
        return first * np.exp(-time / decay) + 0.05 + self.gap(group, time, lr)

    def train_loss(self, time: float, lr: float) -> float:
        return 0.5 * np.exp(-time / 4) + 0.02 + 0.1 * self.gap("input_outlier", time, lr)

    def alignment(self, group: str, time: float) -> float:
        """cos² of the group's gradient with v1: small on the way up, at its level once the edge is reached."""
        level = _character(group)[3]
        return level / (1 + np.exp(2 * (self.fork_time() - time)))


def _character(group: str) -> tuple[float, float, float, float]:
    return _CHARACTER.get(group, (0.5, 4.0, 0.01, 0.1))


def make_run(
    folder: Path,
    *,
    branches: bool = True,
    seed: int = 0,
    groups: Sequence[str] = GROUPS,
    lr: float = 0.02,
    steps: int = 600,
    unstarted: bool = False,
    state: str = "complete",
) -> Law:
    """Write a run folder and return the law its numbers follow. `unstarted` adds a branch `late` that never forked."""
    law = Law(seed, lr)
    assert not branches or law.fork_step() < steps, "the baseline must run past its fork"
    folder.mkdir(parents=True)
    text = yaml.safe_dump(_document(law, groups, steps, branches), sort_keys=False, allow_unicode=True)
    (folder / "study.yaml").write_text(text, encoding="utf-8")
    _write_json(folder / "status.json", _status(state, steps))
    _write_json(folder / "provenance.json", _provenance(law))
    with TraceWriter.create(folder / "trace.h5", title=TITLE, study=text, git_commit="0" * 40) as writer:
        _write_arm(writer, law, "baseline", lr, range(steps + 1), groups, {"parent": "", "state": state})
        if branches:
            start, end = law.fork_step(), law.fork_step() + 2 * (steps - law.fork_step())
            reached = float(law.sharpness(law.fork_time(), lr)[0])
            why = {"trigger": f"sharpness {reached:.4g} reached 2/η = {law.threshold(lr):.4g}"}
            fork = {"parent": "baseline", "state": state, "trigger_value": reached}
            fork |= why | {"trigger_threshold": law.threshold(lr), "trigger_quantity": "sharpness"}
            _write_arm(writer, law, "exit", lr / 2, range(start, end + 1), groups, fork)
        if unstarted:
            reason = "its trigger never fired: the largest sharpness seen was 103, the threshold is 1000"
            writer.add_arm("late", {"parent": "baseline", "state": "not started", "end_reason": reason})
    return law


def make_sweep(
    folder: Path,
    seeds: Sequence[int] = (0, 1, 2),
    *,
    learning_rates: Sequence[float] = (),
    missing: Sequence[str] = (),
    **options: object,
) -> tuple[Law, ...]:
    """Write a sweep over seeds (and learning rates, a condition each). Members in `missing` get no trace."""
    folder.mkdir(parents=True)
    points = [{"seed": seed} for seed in seeds]
    if learning_rates:
        points = [{"optimizer.lr": lr, "seed": seed} for lr in learning_rates for seed in seeds]
    members = [{"name": _member_name(point), "overrides": point} for point in points]
    _write_json(folder / "sweep.json", {"format": 1, "title": TITLE, "members": members})
    laws = []
    for member in members:
        if member["name"] in missing:
            continue
        point = {key.removeprefix("optimizer."): value for key, value in member["overrides"].items()}
        laws.append(make_run(folder / str(member["name"]), **point, **options))  # type: ignore[arg-type]
    return tuple(laws)


def _member_name(point: Mapping[str, float]) -> str:
    return "_".join(f"{key.removeprefix('optimizer.')}-{value}" for key, value in point.items())


def _write_arm(
    writer: TraceWriter,
    law: Law,
    arm: str,
    lr: float,
    steps: range,
    groups: Sequence[str],
    facts: Mapping[str, str | float],
) -> None:
    forks = facts["parent"] != ""
    start = law.fork_time() if forks else 0.0
    attributes = {
        "fork_step": steps[0],
        "fork_time": start,
        "end_reason": f"reached {steps[-1]} steps",
        "optimizer": "gd",
        "learning_rate": lr,
        "threshold": law.threshold(lr),
        "threshold_quantity": "sharpness",
        "seconds": 12.5,
        "steps": len(steps) - 1,
        "training_seconds": 4.0,
        "shared_seconds": json.dumps({"gradient": 1.0, "eigenpairs": 5.0, "losses": 0.5}),
        "shared_matvecs": json.dumps({"eigenpairs": 900}),
    }
    writer.add_arm(arm, {**attributes, **facts})
    for label, channels in _channels(groups).items():
        writer.add_probe(arm, label, channels, _probe_attributes(label))
    times = {step: start + (step - steps[0]) * lr for step in steps}
    for step, time in times.items():
        for label, reading in _readings(law, lr, step, time, groups):
            if label != "group_data" or not forks:
                writer.append(arm, label, step, time, reading)


def _channels(groups: Sequence[str]) -> dict[str, list[Channel]]:
    k = Dimension("k", (1, 2))
    loss = [
        Channel("train", "training loss", symbol="L", standard_name="train_loss"),
        Channel("test", "test loss", symbol="L test", standard_name="test_loss"),
        Channel("train_accuracy", "training accuracy"),
        Channel("test_accuracy", "test accuracy"),
    ]
    sharpness = Channel(
        "eigenvalue", "sharpness", (k,), "S", CURVATURE, "Cohen et al. 2021, arXiv:2103.00065", "sharpness"
    )
    evidence = [channel for channel in eigenpair_evidence(k) if channel.name != "unconverged"]  # all values are there
    channels = {"loss": loss, "sharpness": [sharpness, *evidence]}
    channels["per_example_loss"] = [
        Channel("loss", "loss of each example", (Dimension.of_size("example", EXAMPLES),), "ℓ_i")
    ]
    if not groups:
        return channels
    group = Dimension("group", tuple(groups))
    loss.append(Channel("by_group", "mean loss of each group", (group,), "ℓ_k", standard_name="group_loss"))
    channels["alignment"] = [
        Channel("cos2", "squared cosine of group gradient and v1", (group,), "cos² θ_k"),
        Channel("influence", "curvature influence", (group,), "C_k", "loss² / parameter²"),
        Channel("gradient_norm", "norm of the group gradient", (group,), "‖∇ℓ_k‖", "loss / parameter"),
    ]
    channels["group_data"] = _group_data_channels(group)
    return channels


def _group_data_channels(group: Dimension) -> list[Channel]:
    member = Dimension.of_size("member", MEMBERS)
    image = (
        group,
        member,
        Dimension.of_size("channel", 3),
        Dimension.of_size("row", 8),
        Dimension.of_size("column", 8),
    )
    return [
        Channel("image", "examples of each group", image, dtype="float32"),
        Channel("distance", "distance to the centroid of the own class", (group, member), "‖x − c‖", "pixel"),
    ]


def _readings(
    law: Law, lr: float, step: int, time: float, groups: Sequence[str]
) -> Iterator[tuple[str, dict[str, object]]]:
    by_group = np.array([law.group_loss(group, time, lr) for group in groups])
    train = law.train_loss(time, lr)
    loss: dict[str, object] = {"train": train, "test": train + 0.05, "train_accuracy": 1 - train, "test_accuracy": 0.4}
    yield "loss", loss | ({"by_group": by_group} if groups else {})
    if step % PER_EXAMPLE_EVERY == 0:
        yield "per_example_loss", {"loss": train * np.linspace(0.5, 1.5, EXAMPLES)}
    if step % EVERY:
        return
    value = law.sharpness(time, lr)
    evidence = {"residual": 1e-4 * value, "matvecs": 12, "converged": np.array([True, step > 0]), "doubt": 0.01}
    evidence |= {"error": 1e-6 * value, "separation": np.full(2, 0.4 * value[0])}
    yield "sharpness", {"eigenvalue": value, **evidence}
    if groups:
        cos2 = np.array([law.alignment(group, time) for group in groups])
        norm = np.sqrt(by_group)
        yield "alignment", {"cos2": cos2, "influence": cos2 * norm**2, "gradient_norm": norm}
    if groups and step == 0:
        yield "group_data", _group_data(law, groups)


def _group_data(law: Law, groups: Sequence[str]) -> dict[str, object]:
    random = np.random.default_rng(law.seed)
    distance = 10 + 20 * np.arange(len(groups))[:, None] + random.random((len(groups), MEMBERS))
    distance[-1, -1] = np.nan  # the last group has one member less
    image = random.standard_normal((len(groups), MEMBERS, 3, 8, 8)).astype("float32")
    image[-1, -1] = np.nan
    return {"image": image, "distance": distance}


def _probe_attributes(label: str) -> dict[str, str | int | float]:
    component = {"alignment": "group_alignment"}.get(label, label)
    spent = {"seconds": 1.5, "calls": 61, "matvecs": 732 if label == "sharpness" else 0}
    description = f"What {label.replace('_', ' ')} measures, in one line."
    return {"component": component, "description": description, "cites": "\n".join(CITES), "figures": "", **spent}


def _document(law: Law, groups: Sequence[str], steps: int, branches: bool) -> dict[str, object]:
    probes = ["loss", "per_example_loss", {"use": "sharpness", "k": 2, "every": EVERY}]
    document: dict[str, object] = {
        "title": TITLE,
        "cites": CITES,
        "seed": law.seed,
        "precision": "float32",
        "model": {"use": "mlp", "hidden": [64, 64], "activation": "relu"},
        "dataset": {"use": "dice", "classes": ["three", "six"], "size": EXAMPLES},
        "loss": {"use": "squared_error"},
        "optimizer": {"use": "gd", "lr": law.lr},
        "stop": {"steps": steps},
    }
    if groups:
        document["groups"] = {"use": "prototypes", "per_class": 5, "displacement": 3.0}
        probes += [{"use": "group_alignment", "every": EVERY, "as": "alignment"}, {"use": "group_data", "at": [0]}]
    document["probes"] = probes
    if branches:
        trigger = {"use": "edge_of_stability", "after_step": 50}
        document["branches"] = {"exit": {"at": trigger, "set": {"optimizer.lr": law.lr / 2}}}
    return document


def _status(state: str, steps: int) -> dict[str, object]:
    return {"state": state, "step": steps, "pid": 4242, "host": "laptop", "seconds": 25.0}


def _provenance(law: Law) -> dict[str, object]:
    return {
        "versions": {"studyrun": "0.1.0", "python": "3.11.7", "torch": "2.9.0", "numpy": "2.3.0"},
        "git": {"commit": "0" * 40, "diff": ""},
        "command": ["studyrun", "run", "studies/eos_branching.yaml"],
        "device": "cpu",
        "seeds": {"init": law.seed, "order": law.seed, "subset": law.seed, "probe": law.seed},
        "data": {"train": "sha256:" + "1" * 64},
        "plugins": {},
    }


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
