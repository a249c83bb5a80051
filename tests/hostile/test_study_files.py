"""Any bytes are a study or a clean error, in good time and in bounded memory."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hostile.fuzzing import WHOLE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracles.effort import assert_effort

from studyrun.errors import InvalidStudyError, StudyrunError
from studyrun.study import Study, load_study
from studyrun.study.sections import FILE_KEYS

EFFORT = 45.0
"""At most so many times what PyYAML takes for two thousand plain numbers: twice what the worst of these took."""
MEBIBYTES = 150
BASE = """\
model: net
dataset: toy
loss: square
optimizer: {use: descent, lr: 0.1}
stop: {steps: 10}
"""
TEXT = f"{BASE}probes: [level]\n"


def many(count: int, text: str, between: str = ", ") -> str:
    return between.join(text.format(i, i + 1) for i in range(count))


HOSTILE: dict[str, tuple[str, str]] = {
    # name: the file, and words of the error (none for a study)
    "billion laughs": (TEXT + "a: &a [x, x]\n" + many(40, "a{1}: &b{1} [*a, *a]\n", ""), "there is no section"),
    "laughs in depth": ("b0: &b0 [x]\n" + many(60, "b{1}: &b{1} [*b{0}, *b{0}]\n", ""), "aliases expand to more than"),
    "brackets": ("[" * 100_000, "nested more than 40 deep"),
    "braces": ("{a: " * 40_000, "nested more than 40 deep"),
    "brackets in a value": (f"{BASE}probes: " + "[" * 99_000, "nested more than 40 deep"),
    "an integer of 10^5 digits": (f"{TEXT}seed: {'9' * 100_000}", "too large; whole numbers reach to"),
    "1e999999": (f"{TEXT}chunk_size: 1e999999", "too large for a number in double precision"),
    "an exponent of 10^5 digits": (f"{TEXT}chunk_size: 1e{'9' * 100_000}", "too large for a number"),
    "a version of 10^4 digits": (f"%YAML {'9' * 10_000}.1\n---\n{TEXT}", "not readable as YAML"),
    "an indentation of 10^9": (f"{TEXT}title: |999999999\n  a\n", "not readable as YAML"),
    "a sweep of 10^12": (
        f"{TEXT}sweep:\n" + many(4, f"  seed.{{0}}: [{many(1000, '{0}')}]\n", ""),
        "has 1,000,000,000,000 members; at most 10,000",
    ),
    "a sweep of 2^90": (f"{TEXT}sweep: {{{many(90, 'model.o{0}: [1, 2]')}}}", "members; at most 10,000"),
    "a sweep of many paths": (f"{TEXT}sweep: {{{many(5000, 'model.o{0}: [1]')}}}", "has 5,000 paths; at most 100"),
    "a sweep of long values": (
        f"{TEXT}sweep: {{seed: [{many(9000, '{0}')}], model.hidden: [[{many(9000, '1')}]]}}",
        "sets 81,018,000 values in its 9,000 members; at most 200,000",
    ),
    "a sweep of 10^4 optimizers": (f"{TEXT}sweep: {{optimizer.lr: [{many(9999, '{1}e-4')}]}}", ""),
    "one value swept 9000 times": (f"{TEXT}sweep: {{seed: [{many(9000, '1')}]}}", "stands twice"),
    "a sweep over branches": (
        f"{TEXT}branches: {{{many(900, 'b{0}: {{at: above}}')}}}\nsweep: {{seed: [{many(5000, '{0}')}]}}",
        "takes 4,505,000 checks of arms and of lists; at most 10,000",
    ),
    "a sweep over a long list": (
        f"{BASE}probes: [{many(1500, '{{use: level, as: a{0}}}')}]\nsweep: {{probes.a0.k: [{many(150, '{1}')}]}}",
        "takes 11,400 checks of arms and of lists; at most 10,000",
    ),
    "a chain of branches": (f"{TEXT}branches:\n" + many(2400, "  b{0}: {{at: above, from: b{1}}}\n", ""), "is no arm"),
    "a deep chain of branches": (
        f"{TEXT}branches: {{{many(2400, 'b{0}: {{at: above, from: b{1}}}')}, b2400: {{at: above}}}}",
        "",
    ),
    "a circle of branches": (
        f"{TEXT}branches:\n  b0: {{at: above, from: b1999}}\n" + many(1999, "  b{1}: {{at: above, from: b{0}}}\n", ""),
        "fork from each other in a circle",
    ),
    "a path of 10^5 parts": (f"{TEXT}sweep:\n  ? model{'.a' * 90_000}\n  : [1]\n", "cannot be swept; the path of"),
    "a deep path to set": (
        f"{TEXT}branches:\n  b:\n    at: above\n    set:\n      ? optimizer{'.a' * 90_000}\n      : 1\n",
        "a branch cannot set",
    ),
    "9000 unknown sections": (TEXT + many(9000, "key{0}: 1\n", ""), "the search ended after 200 faults"),
    "9000 unknown options": (TEXT.replace("net", f"{{use: net, {many(9000, 'o{0}: 1')}}}"), "ended after 200 faults"),
    "9000 unknown components": (f"{BASE}probes: [{many(9000, 'lev{0}')}]", "the search ended after 200 faults"),
    "9000 equal keys": (TEXT + "seed: 1\n" * 9000, "the search ended after 200 faults"),
    "9000 wrong items": (TEXT.replace("net", f"{{use: net, hidden: [{many(9000, 'x')}]}}"), "ended after 200 faults"),
    "9000 tags": (f"{TEXT}cites: [{many(3000, '!!python/object/apply:os.system a')}]", "the tag 'tag:yaml.org,2002:py"),
    "a name of 10^5 letters": (TEXT.replace("net", "n" * 100_000), "there is no 'nnn"),
    "a key of 10^5 letters": (f"{TEXT}? {'k' * 100_000}\n: 1\n", "there is no section 'kkk"),
    "a label of 10^5 letters": (f"{BASE}probes: [{{use: level, as: {'a' * 99_000}}}]", "is longer than 100 characters"),
    "a branch of 10^3 letters": (f"{TEXT}branches: {{{'b' * 900}: {{at: above}}}}", "is longer than 100 characters"),
    "equal labels": (f"{BASE}probes: [{many(9000, 'level')}]", "the label 'level' is taken"),
    "a merge key": (f"{TEXT}a: &a {{x: 1}}\nmodel: {{<<: *a}}\n", "merge keys (<<) are not read"),
    "a tag that builds an object": ("!!python/object/apply:os.system ['touch evil']", "is not read"),
    "a tag that builds a key": ("? !!python/object/apply:os.system ['touch evil']\n: 1", "a key must be a word"),
    "two documents": (f"{TEXT}---\n{TEXT}", "a second document starts here"),
    "an alias of nothing": (f"{TEXT}title: *a\n", "no anchor &a stands before this alias"),
    "tabs": (f"model:\n\tuse: net\n{TEXT}", "indent with spaces, not tabs"),
    "NUL": (f"{TEXT}title: a\x00b\n", "the control character U+0000 is not allowed"),
    "an escaped NUL": (f'{TEXT}title: "a\\0b"\n', "holds a control character"),
    "an escaped surrogate": (f'{TEXT}title: "\\ud800"\n', "holds a control character"),
    "an escape beyond Unicode": (f'{TEXT}title: "\\U00110000"\n', "an escape or number beyond its range"),
    "a terminal's escape": (f'{TEXT}title: "\\e]0;owned\\a"\n', "holds a control character"),
    "long text": (f"{TEXT}title: '{'a ' * 95_000}'\n", ""),
    "escapes": (f'{TEXT}title: "{chr(92) + "x41" * 1}{"a" * 9}"\n', ""),
    "many lines": (f"{TEXT}title: >\n" + " a\n" * 60_000, ""),
}


def faults_in(path: Path, **options: Sequence[str]) -> str:
    """What loading says of a file; nothing if it is a study."""
    try:
        load_study(path, **options)  # type: ignore[arg-type]
    except StudyrunError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("text", "words"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_is_answered_in_good_time(folder: Path, text: str, words: str) -> None:
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8")
    assert len(text) < 200_000, "the attack is on what is read"
    told: list[str] = []
    assert_effort(lambda: told.append(faults_in(path)), EFFORT)
    said = told[0]
    assert words in said
    assert bool(words) == bool(said)
    assert len(said) < 500_000
    assert not (folder / "evil").exists()


@pytest.mark.parametrize("name", ["laughs in depth", "a sweep of long values", "a sweep of 2^90", "9000 wrong items"])
def test_a_hostile_file_takes_bounded_memory(folder: Path, name: str) -> None:
    path = folder / "study.yaml"
    path.write_text(HOSTILE[name][0], encoding="utf-8")
    faults_in(path)  # what is imported once is no part of it
    tracemalloc.start()
    try:
        faults_in(path)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
    assert peak < MEBIBYTES


ENCODINGS = {"utf-16": "byte 0xff is not UTF-8", "utf-32": "byte 0xff is not UTF-8", "utf-16-be": "U+0000", "cp037": ""}


@pytest.mark.parametrize(("encoding", "words"), ENCODINGS.items())
def test_other_encodings_are_refused(folder: Path, encoding: str, words: str) -> None:
    path = folder / "study.yaml"
    path.write_bytes(TEXT.encode(encoding))
    said = faults_in(path)
    assert said
    assert words in said


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _circle(path: Path) -> None:
    path.symlink_to(path.name)


ODD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "folder": (Path.mkdir, "cannot be read: Is a directory"),
    "pipe": (_pipe, "cannot be read: it is a pipe or a device"),
    "device": (_device, "cannot be read: it is a pipe or a device"),
    "a link to itself": (_circle, "there is no study file"),
}


@pytest.mark.parametrize(("make", "words"), ODD.values(), ids=ODD.keys())
def test_what_is_no_plain_file_is_no_study(folder: Path, make: Callable[[Path], Any], words: str) -> None:
    """A pipe that nobody writes to would keep its reader for ever."""
    make(folder / "study.yaml")
    assert words in faults_in(folder / "study.yaml")
    (folder / "top.yaml").write_text(f"extends: study.yaml\n{TEXT}")
    assert "there is no file study.yaml" in faults_in(folder / "top.yaml")


def test_files_that_extend_each_other_are_read_as_far_as_one_file_may_reach(folder: Path) -> None:
    for number in range(19):
        (folder / f"{number}.yaml").write_text(f"extends: {number + 1}.yaml\n" + "#" * 90_000)
    (folder / "study.yaml").write_text(f"extends: 0.yaml\n{TEXT}")
    told: list[str] = []
    assert_effort(lambda: told.append(faults_in(folder / "study.yaml")), EFFORT)
    assert "more than 200,000 bytes of files extend each other" in told[0]


@pytest.mark.parametrize("other", ["/etc/passwd", "../../../../../../etc/passwd", ".", "..", "/dev/zero", "a\\0b"])
def test_a_file_to_extend_is_a_study_too(folder: Path, other: str) -> None:
    (folder / "study.yaml").write_text(f'extends: "{other}"\n{TEXT}')
    assert faults_in(folder / "study.yaml").startswith(("study.yaml", "/"))


SETTINGS = {
    "a deep path": ("a" + ".a" * 50_000 + "=1", "is no assignment"),
    "a deep value": ("model=" + "[" * 50_000, "nested more than 40 deep"),
    "a long value": ("title=" + "a" * 300_000, "is longer than 200,000 characters"),
    "an undecodable byte": ("title=\udcff", "is not allowed in YAML"),
    "a huge number": ("seed=" + "9" * 99_000, "is too large"),
    "an alias bomb": ("cites=[&a [x, x], " + many(40, "&b{1} [*a, *a]") + "]", "is wrong here"),
}


@pytest.mark.parametrize(("setting", "words"), SETTINGS.values(), ids=SETTINGS.keys())
def test_a_hostile_setting_is_answered_in_good_time(folder: Path, setting: str, words: str) -> None:
    (folder / "study.yaml").write_text(TEXT)
    told: list[str] = []
    assert_effort(lambda: told.append(faults_in(folder / "study.yaml", overrides=[setting])), EFFORT)
    assert words in told[0]


FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
MARKS = [
    ": ",
    "- ",
    "\n",
    "\n  ",
    "[",
    "]",
    "{",
    "}",
    "*a",
    "&a ",
    "!!python/none ",
    "<<: ",
    "1e99",
    "\t",
    "'",
    "level",
]
TOKENS = st.sampled_from([*FILE_KEYS, *MARKS])
ANY = st.binary(max_size=200) | st.lists(TOKENS, max_size=40).map(lambda words: "".join(words).encode())


@FUZZ
@given(ANY, ANY, st.lists(st.text(max_size=20) | st.lists(TOKENS, max_size=6).map("".join), max_size=2))
def test_any_bytes_and_settings_are_a_study_or_clean_faults(
    folder: Path, top: bytes, below: bytes, overrides: list[str]
) -> None:
    (folder / "base.yaml").write_bytes(below)
    (folder / "study.yaml").write_bytes(b"extends: base.yaml\n" + top)
    with suppress(StudyrunError):
        load_study(folder / "study.yaml", profile=["smoke"], overrides=overrides)


@FUZZ
@given(st.data())
def test_a_study_cut_and_pasted_is_a_study_or_clean_faults(folder: Path, data: st.DataObject) -> None:
    start, length, target = (data.draw(st.integers(0, len(WHOLE.study))) for _ in range(3))
    piece = WHOLE.study[start : start + length % 80]
    (folder / "base.yaml").write_bytes(WHOLE.base)
    (folder / "study.yaml").write_bytes(WHOLE.study[:target] + piece + WHOLE.study[target + length % 7 :])
    with suppress(StudyrunError):
        load_study(folder / "study.yaml", profile=WHOLE.profiles, overrides=WHOLE.settings)


def test_yaml_has_no_way_to_build_an_object(folder: Path) -> None:
    """The file that PyYAML's unsafe loader obeys is refused, and leaves no mark."""
    bomb = "!!python/object/apply:os.mkdir [evil]"
    (folder / "study.yaml").write_text(f"{TEXT}title: {bomb}\n")
    with pytest.raises(InvalidStudyError, match=r"apply:os\.mkdir' is not read"):
        load_study(folder / "study.yaml")
    assert not (folder / "evil").exists()
    yaml.unsafe_load(bomb)
    assert (folder / "evil").exists(), "the bomb is a real one"


def test_a_study_is_what_the_file_says(folder: Path) -> None:
    """The limits leave an honest study alone."""
    (folder / "study.yaml").write_text(TEXT)
    study = load_study(folder / "study.yaml")
    assert isinstance(study, Study)
    assert study.stop.steps == 10
