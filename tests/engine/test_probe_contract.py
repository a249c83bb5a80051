"""A probe that breaks its contract is named, and what was recorded before stays readable."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import TINY

from studyrun.engine.events import Silent
from studyrun.engine.recorder import Recorder, as_arrays
from studyrun.engine.run import execute, prepare
from studyrun.errors import ComponentError, ProbeError
from studyrun.trace.channel import Channel, Dimension
from studyrun.trace.reader import open_run

FAULTY = '''\
"""A probe with a fault at step 4."""

import numpy
from typing import Literal

from studyrun.plugin import Channel, Dimension, Probe


class Faulty(Probe):
    """Record two numbers, and at step 4 something wrong."""

    fault: Literal["shape", "undeclared", "missing", "raise", "nan", "infinite", "text", "no_carry"]

    def channels(self, context):
        return [Channel("pair", "two numbers", (Dimension.of_size("side", 2),))]

    def measure(self, snapshot, carry):
        pair = numpy.ones(2)
        if snapshot.step < 4:
            return {"pair": pair}, carry
        match self.fault:
            case "shape":
                return {"pair": numpy.ones(3)}, carry
            case "undeclared":
                return {"pair": pair, "extra": 1.0}, carry
            case "missing":
                return {}, carry
            case "raise":
                return {"pair": [][0]}, carry
            case "nan":
                return {"pair": pair * numpy.nan}, carry
            case "infinite":
                return {"pair": pair * numpy.inf}, carry
            case "text":
                return {"pair": numpy.array(["a", "b"])}, carry
            case "no_carry":
                return {"pair": pair}
'''


class Loud(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def say(self, text: str, level: str = "info") -> None:
        self.warnings += [text] if level == "warning" else []


@pytest.fixture
def run_faulty(tiny, tmp_path: Path, data_folder):
    (tmp_path / "plugins" / "probes").mkdir(parents=True)
    (tmp_path / "plugins" / "probes" / "faulty.py").write_text(FAULTY)

    def run(fault: str) -> Loud:
        (tmp_path / "run").mkdir()
        loud = Loud()
        execute(prepare(tiny(f"  - {{use: faulty, fault: {fault}}}"), data_folder), tmp_path / "run", [], loud)
        return loud

    return run


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("shape", r"probe 'faulty' returned 'pair' of shape \(3,\); it declared \(2,\)"),
        ("undeclared", r"probe 'faulty' returned 'extra', which it did not declare; it declared pair"),
        ("missing", r"probe 'faulty' declared 'pair' and did not return it"),
        ("raise", r"probe 'faulty' \(faulty\) failed at step 4: IndexError"),
        ("text", r"probe 'faulty' returned 'pair' of type .*; numbers are expected"),
        ("no_carry", r"probe 'faulty' must return \(reading, carry\), not dict"),
    ],
)
def test_a_broken_reading_names_probe_and_fault_and_loses_nothing(run_faulty, tmp_path: Path, fault: str, words: str):
    with pytest.raises(ProbeError, match=words):
        run_faulty(fault)
    left = open_run(tmp_path / "run")
    assert left.status["state"] == left.arms["baseline"].state == "failed"
    assert left.arms["baseline"].probes["faulty"].step.tolist() == [0, 1, 2, 3]
    assert left.arms["baseline"].probes["loss"].step[-1] == 4


@pytest.mark.parametrize(("fault", "word"), [("nan", "NaN"), ("infinite", "an infinite value")])
def test_a_value_that_is_no_number_is_recorded_and_said_once(run_faulty, tmp_path: Path, fault: str, word: str) -> None:
    warnings = run_faulty(fault).warnings
    assert warnings == [f"probe 'faulty' recorded {word} in 'pair' at step 4 of arm 'baseline'"]
    values = open_run(tmp_path / "run").arms["baseline"].probes["faulty"]["pair"].values
    assert np.isfinite(values[:4]).all()
    assert not np.isfinite(values[4:]).any()


def test_a_value_its_type_cannot_hold_is_not_clipped() -> None:
    channel, byte = Channel("small", "a small float", dtype="float16"), Channel("byte", "a byte", dtype="int8")
    said, rows = [], []
    writer = SimpleNamespace(append=lambda arm, label, step, time, arrays: rows.append(float(arrays["small"])))
    recorder = Recorder(writer, "baseline", {"p": (channel,), "q": (byte,)}, said.append)
    for step, value in enumerate((1.0, -70000.0, 80000.0, 1e-9, 0.0, 1e-9, np.inf, np.inf)):
        recorder.record(SimpleNamespace(label="p"), step, 0.0, {"small": torch.tensor(value, dtype=torch.float64)})
    assert rows == [1.0, -np.inf, np.inf, 0.0, 0.0, 0.0, np.inf, np.inf]
    range_ = "beyond the range of float16 (5.96e-08 to 6.55e+04): such values are recorded as"
    assert said == [
        f"probe 'p' gave -70000 for 'small' at step 1 of arm 'baseline', {range_} infinite",
        f"probe 'p' gave 1e-09 for 'small' at step 3 of arm 'baseline', {range_} 0",
        "probe 'p' recorded an infinite value in 'small' at step 6 of arm 'baseline'",
    ]
    with pytest.raises(ProbeError, match="which int8 cannot"):
        recorder.record(SimpleNamespace(label="q"), 0, 0.0, {"byte": 300})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_floats_that_numpy_lacks_are_recorded_as_they_are(dtype: torch.dtype) -> None:
    values = torch.tensor([0.1, -3.0, 448.0, 2.0**-6], requires_grad=True).to(dtype)
    channel = Channel("four", "four numbers", (Dimension.of_size("side", 4),))
    rows: list[np.ndarray] = []
    writer = SimpleNamespace(append=lambda arm, label, step, time, arrays: rows.append(arrays["four"]))
    said: list[str] = []
    Recorder(writer, "baseline", {"p": (channel,)}, said.append).record(
        SimpleNamespace(label="p"), 0, 0.0, {"four": values}
    )
    assert torch.from_numpy(rows[0]).to(dtype).equal(values)
    assert rows[0].tolist() == values.tolist()
    assert said == []


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.ones(2).to_sparse(), "a tensor of type torch.float32, which is no array of float64: "),
        (torch.ones(2, device="meta"), "a tensor of type torch.float32, which is no array of float64: "),
        ([[1.0], [1.0, 2.0]], "a list, which is no array of float64: setting an array element with a sequence"),
        ([torch.ones(2, dtype=torch.bfloat16)], "a list, which is no array of float64: .*BFloat16"),
    ],
    ids=["sparse", "meta", "ragged", "list"],
)
def test_what_cannot_become_an_array_names_probe_and_channel(value: object, words: str) -> None:
    channel = Channel("pair", "two numbers", (Dimension.of_size("side", 2),), dtype="float64")
    with pytest.raises(ProbeError, match=f"probe 'p' returned 'pair' as {words}"):
        as_arrays("p", (channel,), {"pair": value})


def test_a_nan_that_the_channel_explains_is_no_warning(tiny, data_folder, tmp_path: Path) -> None:
    groups = "groups={use: indices, members: {few: [0, 1], many: [2, 3, 4]}}"
    loud = Loud()
    execute(prepare(tiny("  - group_data", groups), data_folder), tmp_path, [], loud)
    assert loud.warnings == []
    distance = open_run(tmp_path).arms["baseline"].probes["group_data"]["distance"].values
    assert np.isnan(distance).sum() == 1


def test_a_probe_that_needs_groups_says_so_before_anything_runs(tiny, data_folder) -> None:
    text = TINY.replace("groups: {use: prototypes, per_class: 2, displacement: 3.0}\n", "")
    with pytest.raises(ProbeError, match=r"probe 'group_alignment': .*add a `groups:` block"):
        prepare(tiny("  - group_alignment", text=text), data_folder)


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        ("{use: threshold, probe: loss, channel: tran, above: 1}", "probe 'loss' records train, .* not 'tran'"),
        ("{use: threshold, probe: loss, channel: by_group, above: 1}", "`select` must name one of inlier, boundary"),
        ("edge_of_stability", "one of the sharpness, which no probe of the study records"),
    ],
)
def test_a_trigger_that_cannot_work_is_refused_before_anything_runs(
    tiny, data_folder, trigger: str, words: str
) -> None:
    with pytest.raises(ComponentError, match=rf"branches.exit.at: .*{words}"):
        prepare(tiny(f"branches: {{exit: {{at: {trigger}}}}}"), data_folder)


def test_dimension_labels_are_what_the_study_names(tiny, carry_out) -> None:
    run = carry_out(tiny())
    assert list(run["baseline"]["loss"]["by_group"].coords["group"]) == list(
        Dimension("group", ("inlier", "boundary", "input_outlier", "output_outlier")).labels
    )


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "dataset={use: chebyshev}",
            r"model 'mlp' and loss 'cross_entropy' do not fit the data set 'chebyshev' .*squared_error",
        ),
        ("loss=pooled", r"loss 'pooled' gives shape \(\) for 2 examples; it must give one number for each"),
    ],
)
def test_a_loss_that_does_not_fit_is_refused_before_anything_runs(
    tiny, data_folder, tmp_path: Path, override: str, words: str
) -> None:
    (tmp_path / "plugins" / "losses").mkdir(parents=True)
    (tmp_path / "plugins" / "losses" / "pooled.py").write_text('''\
"""A loss that forgets to keep examples apart."""

from studyrun.plugin import Loss


class Pooled(Loss):
    """The mean square of the outputs."""

    def per_example(self, outputs, targets):
        return outputs.square().mean()
''')
    text = TINY.replace("groups: {use: prototypes, per_class: 2, displacement: 3.0}\n", "").replace(
        "squared_error", "cross_entropy"
    )
    with pytest.raises(ComponentError, match=words):
        prepare(tiny("", override, text=text), data_folder)


def test_an_optimizer_that_refuses_the_model_says_so_before_anything_runs(tiny, data_folder) -> None:
    with pytest.raises(ComponentError, match="optimizer 'torch_optimizer' does not take the parameters of model 'mlp'"):
        prepare(tiny("", "optimizer={use: torch_optimizer, name: Muon, lr: 0.1}"), data_folder)
