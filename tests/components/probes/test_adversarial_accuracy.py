"""Projected gradient descent against the optimal attack on linear models, and held to its ball and its box."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from studyrun.component import Data, Grouping, Split
from studyrun.components.losses.cross_entropy import CrossEntropy
from studyrun.components.losses.squared_error import SquaredError
from studyrun.components.probes.adversarial_accuracy import AdversarialAccuracy
from studyrun.errors import ProbeError

MEAN, DEVIATION = (0.5, 0.4), (0.25, 0.2)
SHAPE = (2, 3, 3)
NO_BOX = {"examples": None, "box": False}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def channels(numbers: tuple[float, ...]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64).view(-1, 1, 1)


@dataclass
class Still:
    """A snapshot of a network that stands still, which remembers every input it was shown."""

    data: Data
    network: Callable[[Tensor], Tensor]
    loss: Any = field(default_factory=CrossEntropy)
    members: dict[str, Tensor] = field(default_factory=dict)
    chunk_size: int = 100
    seed: int = 0
    seen: list[Tensor] = field(default_factory=list)
    differentiated: list[int] = field(default_factory=list)

    @property
    def context(self) -> Any:
        grouping = Grouping(self.data, self.members)
        groups = tuple(self.members)
        return SimpleNamespace(data=self.data, loss=self.loss, grouping=grouping, groups=groups, classifies=True)

    parameters: Any = field(default_factory=dict)

    def generator(self, purpose: str) -> torch.Generator:
        assert purpose == "adversarial accuracy"
        return generator(self.seed)

    def outputs(self, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            self.seen.append(inputs.detach())
            return self.network(inputs)

    def forward(self, parameters: object, inputs: Tensor, *, statistics: str) -> Tensor:
        assert statistics == "eval"
        assert len(inputs) <= self.chunk_size
        self.differentiated.append(len(inputs))
        self.seen.append(inputs.detach())
        return self.network(inputs)

    def read(self, **options: Any) -> dict[str, float]:
        probe = AdversarialAccuracy(**options)
        names = [channel.name for channel in probe.channels(self.context)]
        reading, carry = probe.measure(self, None)
        assert (list(reading), carry) == (names, None)
        return {name: float(value) for name, value in reading.items()}


def data(count: int = 40, seed: int = 0, *, scaled: bool = True, classes: int = 2, outside: float = 0.0) -> Data:
    """Images drawn evenly from [−outside, 1 + outside], normalised if `scaled`."""
    drawn = generator(seed)
    raw = torch.rand(count, *SHAPE, dtype=torch.float64, generator=drawn) * (1 + 2 * outside) - outside
    inputs = (raw - channels(MEAN)) / channels(DEVIATION) if scaled else raw
    split = Split(inputs, torch.randint(classes, (count,), generator=drawn))
    names = tuple("abcdef"[:classes])
    return Data(split, split, names, classes, *((MEAN, DEVIATION) if scaled else ()))


def linear(seed: int = 1, classes: int = 2, size: float = 1.0) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor]:
    """A linear network, with its weights (classes, 18) and biases."""
    weight = size * torch.randn(classes, 18, dtype=torch.float64, generator=generator(seed))
    bias = 0.3 * torch.randn(classes, dtype=torch.float64, generator=generator(seed + 1))
    return lambda inputs: inputs.flatten(1) @ weight.T + bias, weight, bias


def curved(seed: int = 1, classes: int = 3) -> Callable[[Tensor], Tensor]:
    first = torch.randn(7, 18, dtype=torch.float64, generator=generator(seed))
    last = torch.randn(classes, 7, dtype=torch.float64, generator=generator(seed + 1))
    return lambda inputs: torch.tanh(inputs.flatten(1) @ first.T) @ last.T


def margins(network: Callable[[Tensor], Tensor], split: Split) -> Tensor:
    """f_y − f_j of the two classes."""
    outputs = network(split.inputs)
    sign = 1 - 2.0 * split.targets
    return sign * (outputs[:, 0] - outputs[:, 1])


@pytest.mark.parametrize("scaled", [True, False], ids=["normalised", "as it is"])
@pytest.mark.parametrize("objective", ["margin", "loss"])
@pytest.mark.parametrize(("norm", "order", "epsilon"), [("linf", 1, 0.1), ("l2", 2, 0.4)])
def test_between_two_classes_of_a_linear_model_it_is_the_optimal_attack(norm, order, epsilon, objective, scaled):
    network, weight, _ = linear(size=0.3 if scaled else 1.0)
    still = Still(data(200, scaled=scaled), network)
    # in units of the raw image the model is steeper, by the deviation of each colour
    slope = (weight[0] - weight[1]).view(SHAPE) / (channels(DEVIATION) if scaled else 1)
    worst = margins(network, still.data.train) - epsilon * torch.linalg.vector_norm(slope, ord=order)
    found = still.read(norm=norm, epsilon=epsilon, objective=objective, random_start=False, **NO_BOX)
    clean = float((margins(network, still.data.train) > 0).double().mean())
    assert 0.1 < float((worst > 0).double().mean()) < clean - 0.1, "the attack has to matter here"
    assert found["accuracy"] == pytest.approx(float((worst > 0).double().mean()))
    assert found["clean_accuracy"] == pytest.approx(clean)
    # of two classes the cross-entropy is log(1 + e^−margin)
    assert found["loss"] == pytest.approx(float(torch.nn.functional.softplus(-worst).mean()), rel=1e-12)
    assert found["examples"] == 200
    # From anywhere in the ball it comes there too; under l2 each step leaves some 0.8 of the angle, 0.8^100 = 2e-10
    started = still.read(norm=norm, epsilon=epsilon, objective=objective, steps=100, **NO_BOX)
    assert started["accuracy"] == found["accuracy"]
    assert started["loss"] == pytest.approx(found["loss"], rel=1e-9)


def test_in_the_box_it_is_the_optimal_attack_within_both() -> None:
    """Pixel by pixel the best change is the end of [max(−ε, −x), min(ε, 1 − x)] on the side of the slope."""
    network, weight, _ = linear(size=0.3)
    still = Still(data(200, outside=0.3), network)
    split, epsilon = still.data.train, 0.2
    raw = split.inputs * channels(DEVIATION) + channels(MEAN)
    low, high = (-raw).clamp(-epsilon, 0), (1 - raw).clamp(0, epsilon)
    slope = (weight[0] - weight[1]).view(SHAPE) / channels(DEVIATION) * (1 - 2.0 * split.targets).view(-1, 1, 1, 1)
    worst = margins(network, split) + torch.minimum(slope * low, slope * high).flatten(1).sum(1)
    found = still.read(epsilon=epsilon, examples=None)
    assert found["accuracy"] == pytest.approx(float((worst > 0).double().mean()))
    assert found["loss"] == pytest.approx(float(torch.nn.functional.softplus(-worst).mean()), rel=1e-12)
    assert found["loss"] < still.read(epsilon=epsilon, **NO_BOX)["loss"]


@settings(max_examples=60, deadline=None)
@given(
    norm=st.sampled_from(["linf", "l2"]),
    epsilon=st.floats(0, 2),
    longer=st.floats(1, 10),
    steps=st.integers(1, 5),
    restarts=st.integers(1, 3),
    objective=st.sampled_from(["margin", "loss"]),
    box=st.booleans(),
    scaled=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_it_never_leaves_its_ball_nor_the_box(norm, epsilon, longer, steps, restarts, objective, box, scaled, seed):
    still = Still(data(6, seed, scaled=scaled, classes=3, outside=0.2), curved(seed), seed=seed)
    options = {"norm": norm, "objective": objective, "box": box, "steps": steps, "restarts": restarts}
    still.read(epsilon=epsilon, step=longer * (epsilon + 1e-6) / steps, examples=None, **options)
    deviation, mean = (channels(DEVIATION), channels(MEAN)) if scaled else (1.0, 0.0)
    raw = still.data.train.inputs * deviation + mean
    low, high = (raw.clamp(max=0), raw.clamp(min=1)) if box and scaled else (-torch.inf, torch.inf)
    assert len(still.seen) == 1 + restarts * (steps + 1)
    for inputs in still.seen:
        moved = inputs * deviation + mean
        lengths = torch.linalg.vector_norm((moved - raw).flatten(1), ord=torch.inf if norm == "linf" else 2, dim=1)
        assert lengths.max() <= epsilon + 1e-12
        assert (moved >= low - 1e-12).all()
        assert (moved <= high + 1e-12).all()


@settings(max_examples=25, deadline=None)
@given(norm=st.sampled_from(["linf", "l2"]), seed=st.integers(0, 1000), size=st.floats(0.02, 0.3))
def test_more_restarts_never_raise_accuracy_nor_lower_the_loss(norm, seed, size) -> None:
    still = Still(data(30, seed, classes=3), curved(seed), seed=seed)
    found = [still.read(norm=norm, epsilon=size, steps=2, step=size, restarts=count) for count in (1, 2, 4)]
    assert [one["accuracy"] for one in found] == sorted((one["accuracy"] for one in found), reverse=True)
    assert [one["loss"] for one in found] == sorted(one["loss"] for one in found)
    assert all(one["accuracy"] <= one["clean_accuracy"] for one in found)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_attack_that_may_not_move_anything_is_the_clean_accuracy(norm: str) -> None:
    still = Still(data(50), curved(classes=2))
    found = still.read(norm=norm, epsilon=0)
    outputs, targets = curved(classes=2)(still.data.train.inputs), still.data.train.targets
    assert (
        0
        < found["accuracy"]
        == found["clean_accuracy"]
        == pytest.approx(float((outputs.argmax(1) == targets).double().mean()))
    )
    assert found["loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(outputs, targets)), rel=1e-12)


def test_starts_are_uniform_in_the_ball() -> None:
    inputs = torch.zeros(4000, 1, 2, 2, dtype=torch.float64)
    square = AdversarialAccuracy(epsilon=0.5)._start(inputs, generator(0))
    assert (float(square.min()), float(square.max())) == (pytest.approx(-0.5, abs=1e-3), pytest.approx(0.5, abs=1e-3))
    assert float(square.std()) == pytest.approx(1 / 12**0.5, rel=0.02)
    radii = AdversarialAccuracy(norm="l2", epsilon=0.5)._start(inputs, generator(0)).flatten(1).norm(dim=1)
    for share in (0.25, 0.5, 0.75):  # of four dimensions: share^(1/4); the error of a quantile is below 0.4 %
        assert float(radii.quantile(share)) == pytest.approx(0.5 * share**0.25, rel=0.015)


def test_the_margin_breaks_what_the_squared_error_leads_away_from() -> None:
    """Outputs three times their target: the squared error is larger still further away from the boundary."""
    split = Split(torch.full((5, 1), 3.0, dtype=torch.float64), torch.zeros(5, dtype=torch.int64))
    still = Still(
        Data(split, None, ("a", "b"), 2), lambda x: torch.cat([x, torch.zeros_like(x)], dim=1), SquaredError()
    )
    attack = {"epsilon": 3.5, "split": "train"}
    assert still.read(**attack)["accuracy"] == 0
    assert still.read(objective="loss", random_start=False, **attack)["accuracy"] == 1


def test_of_several_wrong_classes_the_nearest_is_climbed_to() -> None:
    """Outputs 0, x − 1 and −5x − 100 with target 0 at x = 0: the second class wins beyond 1, the third nowhere near."""
    split = Split(torch.zeros(4, 1, dtype=torch.float64), torch.zeros(4, dtype=torch.int64))
    still = Still(Data(split, split, ("a", "b", "c"), 3), lambda x: torch.cat([0 * x, x - 1, -5 * x - 100], dim=1))
    assert [still.read(epsilon=radius)["accuracy"] for radius in (0.9, 1.1)] == [1, 0]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_generator_of_the_snapshot_alone_decides_where_it_starts(norm: str) -> None:
    def read(seed: int) -> float:
        return Still(data(10, classes=3), curved(), seed=seed).read(norm=norm, epsilon=0.5, steps=1)["loss"]

    torch.manual_seed(7)
    before = torch.get_rng_state()
    assert read(0) == read(0) != read(1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_chunks_change_nothing(norm: str) -> None:
    def read(chunk_size: int) -> dict[str, float]:
        return Still(data(23, classes=3), curved(), chunk_size=chunk_size).read(norm=norm, epsilon=radius, restarts=2)

    radius = {"linf": 0.03, "l2": 0.1}[norm]
    whole = read(100)
    assert 0 < whole["accuracy"] < whole["clean_accuracy"]
    for size in (1, 7, 23):
        assert read(size) == pytest.approx(whole, rel=1e-12)


def test_examples_are_chosen_evenly_from_the_split_or_the_group() -> None:
    whole = data(20)
    members = {"few": torch.tensor([3, 5, 8, 13])}
    other = Data(whole.train, data(9, seed=5).train, whole.classes, 2, MEAN, DEVIATION)
    for options, expected in (
        ({"examples": 3}, other.test.inputs[[0, 3, 6]]),
        ({"examples": None}, other.test.inputs),
        ({"examples": 10, "split": "train"}, whole.train.inputs[::2]),
        ({"group": "few", "split": "train"}, whole.train.inputs[[3, 5, 8, 13]]),
        ({"group": "few", "split": "train", "examples": 2}, whole.train.inputs[[3, 8]]),
    ):
        still = Still(other, curved(classes=2), members=members)
        assert still.read(**options)["examples"] == len(expected)
        assert torch.equal(still.seen[0], expected)


def test_it_costs_a_gradient_by_the_inputs_for_every_step_of_every_restart() -> None:
    still = Still(data(10), curved(classes=2), chunk_size=4)
    still.read(steps=5, restarts=3)
    assert sum(still.differentiated) == 10 * 5 * 3


def test_the_trace_says_what_was_attacked_and_in_which_units() -> None:
    def words(one: Data, **options: Any) -> list[str]:
        probe = AdversarialAccuracy(**options)
        return [
            channel.long_name
            for channel in probe.channels(Still(one, curved(), members={"few": torch.arange(2)}).context)
        ]

    assert words(data())[:2] == [
        "accuracy on test examples under attack within ‖δ‖∞ ≤ 0.03137 of the raw image, which stays in [0, 1]",
        "accuracy on the same test examples, clean",
    ]
    assert words(data(), box=False, norm="l2")[0].endswith("‖δ‖₂ ≤ 0.5 of the raw image")
    assert words(data(scaled=False))[0].endswith("‖δ‖∞ ≤ 0.03137 of the model's input")
    assert words(data(), group="few", split="train")[3] == "training examples of the group few attacked"


def test_the_defaults_are_those_of_the_sources() -> None:
    linf, l2 = AdversarialAccuracy(), AdversarialAccuracy(norm="l2")
    assert (linf._epsilon, linf._step, linf.steps) == (8 / 255, 2 / 255, 20)
    assert (l2._epsilon, l2._step) == (0.5, 0.125)
    assert AdversarialAccuracy(steps=1)._step == 8 / 255


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"group": "few"}, "the examples of a group are training examples: give `split: train` with `group`"),
        ({"restarts": 2, "random_start": False}, "without a random start all restarts are the same: `restarts: 1`"),
        ({"steps": 3, "step": 0.01}, "3 steps of 0.01 never cross the ball: give a step of 0.01046"),
    ],
)
def test_options_that_make_no_attack_are_refused(options: dict, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        AdversarialAccuracy(**options)


def test_data_without_classes_or_the_examples_asked_for_are_refused() -> None:
    whole = data(4)
    regression = Data(Split(whole.train.inputs, torch.zeros(4, 2)), None, (), 2)
    untested = Data(whole.train, None, whole.classes, 2)
    for one, options, words in (
        (regression, {}, "accuracy needs classes: this data set is for regression; take the probe out"),
        (untested, {}, "there is no test set to attack here; `split: train` would be right"),
        (whole, {"split": "train", "group": "many"}, "there is no group 'many' here; there are few, more"),
    ):
        context = Still(one, curved(), members={"few": torch.arange(2), "more": torch.arange(3)}).context
        with pytest.raises(ProbeError, match=words):
            AdversarialAccuracy(**options).channels(context)


PROBE = "  - {{use: adversarial_accuracy, every: 4, restarts: 2, {}}}\n"


@pytest.mark.parametrize(("norm", "order"), [("linf", 1), ("l2", 2)])
def test_a_linear_study_is_attacked_optimally_at_every_step(keep, norm: str, order: int) -> None:
    kept = keep(PROBE.format(f"norm: {norm}, epsilon: 0.02, steps: 100, split: train, box: false"), "model.hidden=[]")
    train, (deviation,) = kept.problem.data.train, kept.problem.data.deviation
    rows = list(kept.rows("adversarial_accuracy"))
    for _, reading, flat in rows:
        weight = flat[: 2 * train.inputs[0].numel()].view(2, -1)
        outputs = kept.outputs(flat, train.inputs)
        sign = 1 - 2.0 * train.targets
        margin = sign * (outputs[:, 0] - outputs[:, 1])
        worst = margin - 0.02 * torch.linalg.vector_norm((weight[0] - weight[1]) / deviation, ord=order)
        assert reading["accuracy"] == pytest.approx(float((worst > 0).double().mean()))
        assert reading["clean_accuracy"] == pytest.approx(float((margin > 0).double().mean()))
    assert any(reading["accuracy"] < reading["clean_accuracy"] for _, reading, _ in rows)


@pytest.mark.parametrize("model", ["{use: mlp, hidden: [6]}", "{use: resnet_cifar, depth: 8, width: 2, norm: batch}"])
def test_training_is_the_same_to_the_last_bit_and_readings_repeat(tiny, carry_out, model: str) -> None:
    always = (f"model={model}", "dataset.pixels=8", "stop.steps=4")
    probes = PROBE.format("steps: 3") + PROBE.format("steps: 3, split: train, group: inlier, as: few")
    bare = carry_out(tiny("", *always))["baseline"]
    first, second = (carry_out(tiny(probes, *always))["baseline"] for _ in range(2))
    assert first["loss"]["train"].values.tolist() == bare["loss"]["train"].values.tolist()
    for label in ("adversarial_accuracy", "few"):
        for name, channel in first[label].channels.items():
            assert channel.values.tolist() == second[label][name].values.tolist()
    assert first["few"]["examples"].values.tolist() == [4, 4]
    assert first["adversarial_accuracy"]["clean_accuracy"].values[0] == first["loss"]["test_accuracy"].values[0]


@pytest.mark.parametrize("size", [1e-30, 1e-200, 1e30])
def test_under_l2_the_attack_does_not_depend_on_the_size_of_the_outputs(size: float) -> None:
    """A slope whose square vanishes would leave every example where it is, and its accuracy as it was."""
    network, _, _ = linear(size=0.3)
    options = {"norm": "l2", "epsilon": 0.4, "random_start": False, **NO_BOX}
    plain, scaled = (
        Still(data(200), network=lambda inputs, factor=factor: network(inputs) * factor) for factor in (1.0, size)
    )
    assert scaled.read(**options)["accuracy"] == plain.read(**options)["accuracy"] < 0.9


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_slope_that_is_no_number_leads_nowhere_and_breaks_no_example(norm: str) -> None:
    network, _, _ = linear()
    still = Still(data(), lambda inputs: network(inputs) + (0 * inputs.flatten(1).sum(1, keepdim=True)).sqrt())
    found = still.read(norm=norm, random_start=False, **NO_BOX)
    assert found["accuracy"] == found["clean_accuracy"] > 0
