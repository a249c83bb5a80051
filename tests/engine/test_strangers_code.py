# ruff: noqa: E501  somebody's code stands on one line
"""Code as people write it: the same seed is the same run, an empty branch its parent, a resumed run the whole one.

Each case keeps state, or draws random numbers, in a place of its own; whatever cannot be carried is refused by name.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import TINY, assert_same_channels

from studyrun.engine.events import Silent
from studyrun.engine.run import execute, prepare, resume
from studyrun.errors import ComponentError, ProbeError
from studyrun.trace.reader import Run, open_run

MODEL = '''\
"""A model as somebody wrote it."""

import random
from collections import Counter, deque
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from studyrun.plugin import Model

CALLS = 0
SCALE = 1 + float(torch.rand(()) + np.random.rand() + random.random())


@dataclass
class Tally:
    n: int = 0


@dataclass(slots=True)
class Slotted:
    n: int


class Net(nn.Module):
    total = 0

    def __init__(self, outputs):
        super().__init__()
        self.layer = nn.Linear(1024, outputs)
        {made}

    def forward(self, x):
        global CALLS
        x = x.flatten(1)
        {passed}
        return self.layer(x)


class Stranger(Model):
    """Linear, with something of its own."""

    def build(self, example_shape, outputs, init):
        return Net(outputs)
'''

KEPT_BY_MODELS = {
    "nothing": ("pass", "pass"),
    "a global generator's draw": ("self.scale = random.random() + np.random.rand()", "x = x * self.scale"),
    "a count": ("self.n = 0", "self.n += 1; x = x * (1 + 0.01 * self.n)"),
    "a count made late": ("pass", "self.n = getattr(self, 'n', 0) + 1; x = x * (1 + 0.01 * self.n)"),
    "a global": ("pass", "CALLS += 1; x = x * (1 + 0.01 * CALLS)"),
    "a class's attribute": ("pass", "Net.total += 1; x = x * (1 + 0.01 * Net.total)"),
    "a list": ("self.seen = []", "self.seen.append(len(self.seen)); x = x * (1 + 0.01 * sum(self.seen))"),
    "a deque": ("self.seen = deque([0], 3)", "self.seen.append(self.seen[-1] + 1); x = x * (1 + 0.01 * sum(self.seen))"),
    "a dict of arrays": ("self.seen = {(0,): np.zeros(1)}", "self.seen[0,] += 1; x = x * float(1 + 0.01 * self.seen[0,][0])"),
    "an object": ("self.tally = Tally()", "self.tally.n += 1; x = x * (1 + 0.01 * self.tally.n)"),
    "an object with slots": ("self.tally = Slotted(0)", "self.tally.n += 1; x = x * (1 + 0.01 * self.tally.n)"),
    "a counter": ("self.seen = Counter()", "self.seen['x'] += 1; x = x * (1 + 0.01 * self.seen['x'])"),
    "a list of objects": ("self.all = [Tally()]", "self.all[0].n += 1; x = x * (1 + 0.01 * self.all[0].n)"),
    "an unregistered tensor": ("self.t = torch.zeros(1)", "self.t += 1; x = x * (1 + 0.01 * self.t)"),
    "one written past autograd": ("self.t = torch.zeros(1)", "self.t.data += 1; x = x * (1 + 0.01 * self.t)"),
    "a buffer put anew": ("self.register_buffer('n', torch.zeros(1))", "self.n = self.n + 1; x = x * (1 + 0.01 * self.n)"),
    "a buffer that was none": (
        "self.register_buffer('n', None)",
        "self.n = torch.ones(1) if self.n is None else self.n + 1; x = x * (1 + 0.01 * self.n)",
    ),
    "a whole-numbered buffer": (
        "self.register_buffer('n', torch.zeros(1, dtype=torch.int16), persistent=False)",
        "self.n.add_(1); x = x * (1 + 0.01 * self.n)",
    ),
    "torch's generator": (
        "self.g = torch.Generator().manual_seed(3)",
        "x = x * (1 + 0.1 * torch.rand(1, generator=self.g))",
    ),
    "numpy's generator": ("self.g = np.random.default_rng(3)", "x = x * (1 + 0.1 * self.g.random())"),
    "Python's generator": ("self.g = random.Random(3)", "x = x * (1 + 0.1 * self.g.random())"),
    "a draw at import": ("self.scale = SCALE", "x = x * self.scale"),
    "a draw from all": ("pass", "x = x * (1 + 0.1 * random.random() + 0.1 * np.random.randn() + 0.1 * torch.rand(1))"),
    "a closure of a hook": (
        "n = 0\n        def hook(module, inputs):\n            nonlocal n\n            n += 1\n"
        "            return (inputs[0] * (1 + 0.01 * n),)\n        self.layer.register_forward_pre_hook(hook)",
        "pass",
    ),
    "a partial's list": ("self.f = partial(lambda seen: seen.append(1) or len(seen), [])", "x = x * (1 + 0.01 * self.f())"),
    "spectral normalisation": ("self.layer = nn.utils.parametrizations.spectral_norm(self.layer)", "pass"),
    "old weight normalisation": ("self.layer = nn.utils.weight_norm(self.layer)", "pass"),
    "recurrence": ("self.rnn = nn.GRU(1024, 8); self.layer = nn.Linear(8, self.layer.out_features)", "x = self.rnn(x)[0]"),
    "its mode": ("self.n = 0; self.d = nn.Dropout(0.5)", "self.n += 1; self.d.train(self.n < 9); x = self.d(x)"),
    "a cache": ("self.cache = None", "self.cache = self.cache or Tally(); x = x * 1.0"),
    "the default type": ("torch.set_default_dtype(torch.float64)", "pass"),
}  # fmt: skip

OPTIMIZER = '''\
"""An optimizer as somebody wrote it."""

import torch

from studyrun.plugin import Optimizer


class Sgd(torch.optim.SGD):
    def __init__(self, parameters, lr):
        super().__init__(parameters, lr=lr)
        {made}

    @torch.no_grad()
    def step(self, closure=None):
        {stepped}


class Stranger(Optimizer):
    """Gradient descent with something of its own."""

    lr: float

    def build(self, parameters):
        return Sgd(parameters, self.lr)

    def threshold(self):
        return None
'''

SCALED = "for p in self.param_groups[0]['params']: p.grad.mul_(1 + 0.01 * {0})\n        super().step()"
KEPT_BY_OPTIMIZERS = {
    "a count": ("self.n = 0", "self.n += 1\n        " + SCALED.format("self.n")),
    "an option of its group": (
        "self.param_groups[0]['k'] = 0",
        "self.param_groups[0]['k'] += 1\n        " + SCALED.format("self.param_groups[0]['k']"),
    ),
    "slots of other types": (
        "pass",
        "for p in self.param_groups[0]['params']:\n"
        "            own = self.state[p].setdefault('own', [torch.zeros_like(p, dtype=torch.float64), 0])\n"
        "            own[0].mul_(0.9).add_(p.grad); own[1] += 1\n"
        "            p.sub_((0.01 * own[0] / own[1]).float())",
    ),
    "an optimizer within": (
        "self.base = torch.optim.Adam(self.param_groups[0]['params'], lr=lr)",
        "self.base.step()",
    ),
}

PROBE = '''\
"""A probe as somebody wrote it."""

import random
from collections import defaultdict

import numpy as np
import torch

from studyrun.plugin import Channel, Probe

SEEN = []


class Stranger(Probe):
    """Something about the losses."""

    def channels(self, context):
        return [Channel("value", "a number")]

    def start(self, context):
        return {start}

    def measure(self, snapshot, carry):
        losses = snapshot.losses().numpy()
        {measured}
        return {{"value": value}}, carry
'''

KEPT_BY_PROBES = {
    "a numpy number": ("0.0", "carry = max(carry, losses.max()); value = carry"),
    "an array": ("np.zeros(3)", "carry = carry + losses[:3]; value = carry.sum()"),
    "an array written in place": ("np.zeros(3)", "carry += losses[:3]; value = carry.sum()"),
    "a dict written in place": ("{'n': 0, 1: set()}", "carry['n'] += 1; carry[1].add(carry['n']); value = sum(carry[1])"),
    "a defaultdict": ("defaultdict(float)", "carry[snapshot.step // 3] += losses.max(); value = max(carry.values())"),
    "a tensor written in place": ("torch.zeros(2)", "carry.add_(1); value = carry.sum()"),
    "a generator": ("np.random.default_rng(1)", "value = carry.random() * losses[0]"),
    "the parameters themselves": (
        "None",
        "now = next(iter(snapshot.parameters.values())); value = 0.0 if carry is None else (now - carry).norm(); carry = now",
    ),
    "draws": ("random.random()", "value = carry + random.random() + np.random.rand() + torch.rand(())"),
    "a global": ("None", "SEEN.append(losses[0]); value = sum(SEEN)"),
    "the losses, sorted in place": ("None", "losses.sort(); value = losses[0]"),
}  # fmt: skip


DATA = {
    ("datasets", "stranger"): """
import numpy as np
import torch

from studyrun.plugin import Data, Dataset, Split


class Stranger(Dataset):
    \"\"\"Points.\"\"\"

    def load(self, folder, subset):
        points = torch.tensor(np.random.default_rng().normal(size=(40, 3)))
        return Data(Split(points, (points[:, 0] > 0).long()), None, classes=("a", "b"), outputs=2)
"""
}

LOSS = {
    ("losses", "stranger"): """
import torch

from studyrun.plugin import Loss


class Stranger(Loss):
    \"\"\"The hinge loss, with targets of ±1.\"\"\"

    def per_example(self, outputs, targets):
        targets[targets == 0] = -1
        return torch.relu(1 - targets * outputs[:, 0])
"""
}

TRIGGER = {
    ("triggers", "stranger"): """
from studyrun.plugin import Trigger


class Stranger(Trigger):
    \"\"\"Never, and with a mark on the data.\"\"\"

    def check(self, moment, carry):
        moment.context.data.train.inputs.add_(1)
        return None, carry
"""
}


def written(kind: str, template: str, **parts: str) -> dict[tuple[str, str], str]:
    """The source of a plugin, by its kind and name."""
    for name, part in parts.items():
        template = template.replace("{" + name + "}", part)
    return {(kind, "stranger"): template.replace("{{", "{").replace("}}", "}")}


CASES = [
    *((f"model: {name}", "model=stranger", written("models", MODEL, made=made, passed=passed))
      for name, (made, passed) in KEPT_BY_MODELS.items()),
    *((f"optimizer: {name}", "optimizer={use: stranger, lr: 0.01}", written("optimizers", OPTIMIZER, made=made, stepped=stepped))
      for name, (made, stepped) in KEPT_BY_OPTIMIZERS.items()),
    *((f"probe: {name}", "probes=[loss, stranger]", written("probes", PROBE, start=start, measured=measured))
      for name, (start, measured) in KEPT_BY_PROBES.items()),
]  # fmt: skip

BRANCHED = "branches: {same: {at: {use: step, step: 5}}}\ncheckpoints: {every: 4}\n"


class DiesAt(Silent):
    def __init__(self, arm: str, step: int) -> None:
        self.place = (arm, step)

    def update(self, arm: str, step: int, fraction: float, note: str) -> None:
        if (arm, step) == self.place:
            raise SystemExit


@pytest.fixture
def plugins(tmp_path: Path):
    def write(sources: dict[tuple[str, str], str]) -> None:
        for (kind, name), source in sources.items():
            (tmp_path / "plugins" / kind).mkdir(parents=True, exist_ok=True)
            (tmp_path / "plugins" / kind / f"{name}.py").write_text(source)

    return write


@pytest.fixture
def killed(tmp_path: Path, data_folder):
    """A study killed at a step and resumed, as its run folder opens."""

    def run(load, arm: str, step: int) -> Run:
        folder = tmp_path / "killed"
        folder.mkdir()
        with pytest.raises(SystemExit):
            execute(prepare(load(), data_folder), folder, [], DiesAt(arm, step))
        resume(prepare(load(), data_folder), folder, Silent())
        return open_run(folder)

    return run


@pytest.mark.parametrize(("setting", "sources"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
@pytest.mark.parametrize("arm", ["baseline", "same"])
def test_what_code_keeps_is_carried(tiny, carry_out, killed, plugins, setting: str, sources, arm: str) -> None:
    plugins(sources)

    def load():
        return tiny(BRANCHED, setting, "groups=null")

    whole = carry_out(load())
    assert_same_channels(whole["baseline"], whole["same"], from_step=5)
    resumed = killed(load, arm, 10)
    for name in ("baseline", "same"):
        assert_same_channels(whole[name], resumed[name])


@pytest.mark.parametrize(("setting", "sources"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_one_seed_is_one_run_and_another_is_another(tiny, carry_out, plugins, setting: str, sources) -> None:
    plugins(sources)
    first, again = (carry_out(tiny("", setting, "groups=null")) for _ in range(2))
    assert_same_channels(first["baseline"], again["baseline"])
    other = carry_out(tiny("", setting, "groups=null", "seed=1"))
    assert first["baseline"]["loss"]["train"].values.tobytes() != other["baseline"]["loss"]["train"].values.tobytes()


def test_what_is_drawn_at_import_is_the_same_in_every_process(tiny, carry_out, plugins) -> None:
    made, passed = KEPT_BY_MODELS["a draw at import"]
    first, again = (
        (plugins(written("models", MODEL + mark, made=made, passed=passed)), carry_out(tiny("", "model=stranger")))[1]
        for mark in ("# imported once", "# imported anew")
    )
    assert_same_channels(first["baseline"], again["baseline"])


REFUSED = {
    "an iterator": (
        written("models", MODEL, made="self.it = iter(range(9**9))", passed="x = x * (1 + next(self.it))"),
        "model=stranger",
        r"model 'stranger'\.it is an iterator, whose place moves as it is read, and no checkpoint can hold that",
    ),
    "another object each time": (
        written("models", MODEL, made="self.o = object()", passed="self.o = object()"),
        "model=stranger",
        r"model 'stranger'\.o is another object after each step, and no checkpoint can hold that",
    ),
    "another parameter each time": (
        written("models", MODEL, made="pass", passed="self.layer.bias = nn.Parameter(self.layer.bias.detach() + 1)"),
        "model=stranger",
        r"model 'stranger' replaces 'layer\.bias' as it trains",
    ),
    "a rate of its own": (
        written("optimizers", OPTIMIZER, made="self.n = 0", stepped="self.n += 1; self.param_groups[0]['lr'] = 0.01 / self.n\n        super().step()"),
        "optimizer={use: stranger, lr: 0.5}",
        r"optimizer 'stranger' changed its own learning rate in step 0, from 0\.5 to 0\.01",
    ),
    "an input written to": (
        written("models", MODEL, made="pass", passed="x.mul_(0.5)"),
        "model=stranger",
        r"model 'stranger': it writes to its inputs in place",
    ),
    "a parameter written to": (
        written("models", MODEL, made="pass", passed="self.layer.weight.data.clamp_(-0.01, 0.01)"),
        "model=stranger",
        r"model 'stranger': it writes to its parameter layer\.weight in its forward pass",
    ),
    "a generator without a seed": (
        written("models", MODEL, made="self.layer.weight.data.mul_(float(np.random.default_rng().random()))", passed="pass"),
        "model=stranger",
        r"model 'stranger': built twice it has not the same layer\.weight; draw from the generator that it is given",
    ),
    "data drawn without a seed": (
        DATA,
        "dataset=stranger",
        r"data set 'stranger': loaded twice it is not the same; draw from the generator that it is given",
    ),
    "targets written to": (
        LOSS,
        "loss=stranger",
        r"loss 'stranger': it writes to the targets in place; let it work on a copy",
    ),
    "a trigger that writes": (
        TRIGGER,
        "branches={late: {at: {use: stranger}}}",
        r"the trigger of branch 'late' wrote to train inputs in place; it must leave no mark on training",
    ),
    "a scheduler": (
        written("optimizers", OPTIMIZER, made="self.s = torch.optim.lr_scheduler.LambdaLR(self, lambda n: min(1, 9 / (n + 1)))", stepped="super().step(); self.s.step()"),
        "optimizer={use: stranger, lr: 0.01}",
        r"optimizer 'stranger' has a learning-rate scheduler",
    ),
    "a slot that is no value": (
        written("optimizers", OPTIMIZER, made="pass", stepped="super().step()\n        self.state[self.param_groups[0]['params'][0]]['o'] = object()"),
        "optimizer={use: stranger, lr: 0.01}",
        r"optimizer 'stranger' keeps what a checkpoint cannot hold: a builtins\.object at \[0\]\['o'\]",
    ),
    "a carry that is no value": (
        written("probes", PROBE, start="[object()]", measured="value = 0.0"),
        "probes=[stranger]",
        r"probe 'stranger' hands over a carry that a checkpoint cannot hold: a builtins\.object at \[0\]",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("sources", "setting", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_carried_is_refused_by_name(tiny, carry_out, plugins, sources, setting: str, words: str) -> None:
    plugins(sources)
    with pytest.raises((ComponentError, ProbeError), match=words):
        carry_out(tiny(BRANCHED, setting, "groups=null", text=TINY))
