"""A trace that was damaged on its disk reads right or not at all: flipped bits, lost sectors, cut ends."""

from __future__ import annotations

import random
import struct
from collections import Counter

import pytest
from oracles.small_trace import record

from studyrun.errors import StudyrunError, TraceError
from studyrun.report import build_report
from studyrun.trace.channel import Channel, Dimension
from studyrun.trace.reader import open_run


@pytest.fixture
def trace(path, writer):
    """A trace of several arms and kinds of channel, and its bytes."""
    wide = Channel("wide", "compressed", (Dimension.of_size("example", 1200),), dtype="float16")
    writer.add_probe("baseline", "wide", [wide], {"component": "wide", "cites": "a paper"})
    writer.add_arm("exit", {"parent": "baseline", "fork_step": 3, "state": "complete", "end_reason": "€ " * 200})
    record(writer, range(40))
    for step in range(3):
        writer.append("baseline", "wide", step, step / 10, {"wide": [step / (1 + n) for n in range(1200)]})
    writer.flush()
    record(writer, range(40, 60))
    writer.close()
    return path, path.read_bytes()


def everything(folder):
    """All that a reader can ask of a run, as text."""
    run = open_run(folder)
    found = [run.attributes, *((arm.name, arm.attributes) for arm in run.arms.values())]
    for arm in run.arms.values():
        for label, probe in arm.probes.items():
            found += [label, probe.attributes, probe.step.tobytes(), probe.time.tobytes()]
            for one in probe.channels.values():
                found += [one.name, one.dims, one.labels, one.attributes, one.values.dtype, one.values.tobytes()]
    return repr(found)


def outcomes(path, damaged):
    """How often a damaged file was refused, and how often the damage lay where it harms nothing."""
    truth, count, messages = everything(path.parent), Counter(), list[str]()
    for content in damaged:
        path.write_bytes(content)
        try:
            found = everything(path.parent)
        except TraceError as error:
            messages.append(str(error))
            count["refused"] += 1
        else:
            assert found == truth, "a wrong number, and nothing was said"
            count["harmless"] += 1
    assert all(message.startswith(str(path)) for message in messages)
    return count


def test_a_flipped_bit_never_gives_a_wrong_number(trace):
    path, content = trace
    draw = random.Random(1)

    def flipped():
        for _ in range(400):
            damaged = bytearray(content)
            damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
            yield damaged

    count = outcomes(path, flipped())
    assert count["refused"] > 300


def test_a_lost_sector_never_gives_a_wrong_number(trace):
    path, content = trace
    draw = random.Random(2)

    def overwritten():
        for fill in (b"\0", b"\xff", None):
            for _ in range(50):
                at = 512 * draw.randrange(len(content) // 512)
                yield content[:at] + (fill * 512 if fill else draw.randbytes(512)) + content[at + 512 :]

    assert outcomes(path, overwritten())["refused"] > 60


def test_a_trace_cut_off_anywhere_is_refused(trace):
    path, content = trace
    draw = random.Random(3)
    lengths = {0, 1, 511, 4096, len(content) - 1, *(draw.randrange(len(content)) for _ in range(200))}
    assert outcomes(path, (content[:length] for length in lengths)) == {"refused": len(lengths)}


def test_the_message_names_file_channel_and_what_to_do(trace):
    path, content = trace
    at = content.index(struct.pack("<3d", 1 / 2, 1 / 3, 1 / 4))  # the losses of steps 1 to 3
    damaged = bytearray(content)
    damaged[at] ^= 8
    path.write_bytes(damaged)
    run = open_run(path.parent)
    with pytest.raises(TraceError) as caught:
        run["baseline"]["loss"]["train"].values  # noqa: B018
    message = str(caught.value)
    assert message.startswith(f"{path}: baseline/loss/train cannot be read: ")
    assert message.endswith(f"`studyrun check {path.parent}` says what is damaged")
    assert run["baseline"]["loss"]["right"].values.shape == (60, 2)
    pytest.importorskip("xarray")
    with pytest.raises(TraceError, match=r"trace\.h5 cannot be read: .*`studyrun check"):
        run.to_xarray()


def test_a_changed_label_and_a_changed_text_are_found(trace):
    path, content = trace
    for text in (b"inlier", b"mean loss of each group", b"title: A title"):
        damaged = content.replace(text, text[:-1] + b"?")
        assert damaged != content
        path.write_bytes(damaged)
        with pytest.raises(TraceError, match=r"do not have the checksum that they were written with"):
            open_run(path.parent)


def test_a_report_on_a_damaged_trace_is_refused_or_says_what_it_lacks(trace):
    path, content = trace
    draw, refused = random.Random(4), list[str]()
    assert build_report(path.parent).broken == ()
    for _ in range(5):
        damaged = bytearray(content)
        damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        try:
            build_report(path.parent)
        except StudyrunError as error:
            refused.append(str(error))
    assert refused
    assert all("studyrun check" in message for message in refused)
