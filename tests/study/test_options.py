"""Blocks against Pydantic classes: what is taken, and in what words the rest is refused."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, field_validator

from studyrun.component import Options
from studyrun.study.options import as_document, build
from studyrun.study.tree import Block, Faults, Origin
from studyrun.study.yaml_reader import parse


class Shape(Enum):
    ROUND = "round"
    FLAT = "flat"


class Inner(Options):
    size: int
    """How large."""
    also: float = 0.0


class Outer(Options):
    inner: Inner = Inner(size=7, also=7.0)
    count: int = 7


class Other(Options):
    name: str
    deep: Inner | None = None


class Everything(Options):
    count: Annotated[int, Field(ge=1, multiple_of=2)] = 2
    rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    flag: bool = False
    word: str = ""
    choice: Literal["relu", "elu", 3] = "relu"
    shape: Shape = Shape.ROUND
    pair: tuple[int, int] = (1, 2)
    several: Annotated[tuple[str, ...], Field(min_length=1)] = ("a",)
    table: dict[str, int] = Field(default_factory=dict)
    inner: Inner = Inner(size=1, also=0.5)
    outer: Outer = Outer()
    either: int | Inner | None = None
    blocks: Inner | Other | None = None
    listed: tuple[Inner, ...] = ()
    lambda_: Annotated[float, Field(alias="lambda")] = 1.0
    code: Annotated[str, Field(pattern="^x+$", max_length=3)] = "x"
    folder: Path = Path()

    @field_validator("word")
    @classmethod
    def _not_bad(cls, word: str) -> str:
        if word == "bad":
            raise ValueError("this word is bad; a good one would be right")
        if word == "worse":
            raise KeyError("worse")
        return word


def block(text: str) -> Block:
    node = parse(text, Origin("f", 1, 1), Faults())
    assert isinstance(node, Block)
    return node


def built(text: str) -> Everything:
    faults = Faults()
    options = build(Everything, block(text), (), faults)
    assert not faults.found
    assert options is not None
    return options


def faults_of(text: str) -> list[str]:
    faults = Faults()
    assert build(Everything, block(text), ("model",), faults, ("use",)) is None
    return [f"{fault.line}:{fault.column} {fault.path}: {fault.message}" for fault in faults.found]


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("rate: 1", "rate", 1.0),
        ("count: 1e2", "count", 100),
        ("pair: [3, 4]", "pair", (3, 4)),
        ("shape: flat", "shape", Shape.FLAT),
        ("either: 3", "either", 3),
        ("either: {size: 2}", "either", Inner(size=2)),
        ("blocks: {name: no}", "blocks", Other(name="no")),
        ("listed: [{size: 1}, {size: 2}]", "listed", (Inner(size=1), Inner(size=2))),
        ("table: {1: 2}", "table", {"1": 2}),
        ("lambda: 2", "lambda_", 2.0),
        ("folder: a/b", "folder", Path("a/b")),
        ("rate: null", "rate", 0.5),
        ("inner: null", "inner", Inner(size=1, also=0.5)),
        ("inner: {also: 3}", "inner", Inner(size=1, also=3.0)),
        ("outer: {inner: {also: 3}}", "outer", Outer(inner=Inner(size=7, also=3.0))),
        ("either: null", "either", None),
    ],
)
def test_what_is_meant_is_taken(text: str, name: str, value: Any) -> None:
    assert getattr(built(text), name) == value


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("count: 3", "1:8 model.count: the number 3 is wrong here; a multiple of 2 would be right"),
        (
            "count: '2'",
            "1:8 model.count: the text '2' is wrong here; a whole number would be right; without quotes it is one",
        ),
        ("count: 2.5", "1:8 model.count: the number 2.5 is wrong here; a whole number would be right"),
        ("count: true", "1:8 model.count: the boolean true is wrong here; a whole number would be right"),
        ("rate: 2", "1:7 model.rate: the number 2 is wrong here; a number ≤ 1 would be right"),
        ("rate: [1]", "1:7 model.rate: a list is wrong here; a number would be right"),
        ("flag: 1", "1:7 model.flag: the number 1 is wrong here; true or false would be right"),
        ("flag: yes", "1:7 model.flag: the text 'yes' is wrong here; true or false would be right"),
        ("word: 1", "1:7 model.word: the number 1 is wrong here; a text would be right"),
        ("word: {}", "1:7 model.word: a block is wrong here; a text would be right"),
        ("word: bad", "1:7 model.word: this word is bad; a good one would be right"),
        ("word: worse", "1:1 model: checking these options raised KeyError: 'worse'"),
        (
            "choice: relo",
            "1:9 model.choice: the text 'relo' is wrong here; 'relu', 'elu' or 3 would be right; did you mean 'relu'?",
        ),
        (
            "shape: rund",
            "1:8 model.shape: the text 'rund' is wrong here; 'round' or 'flat' would be right; did you mean 'round'?",
        ),
        ("pair: [1]", "1:7 model.pair: the item '1' is missing"),
        ("pair: [1, x]", "1:11 model.pair.1: the text 'x' is wrong here; a whole number would be right"),
        ("pair: 1", "1:7 model.pair: the number 1 is wrong here; a list would be right"),
        ("several: []", "1:10 model.several: a list is wrong here; at least 1 of them would be right"),
        ("table: {a: b}", "1:12 model.table.a: the text 'b' is wrong here; a whole number would be right"),
        ("table: [1]", "1:8 model.table: a list is wrong here; a block would be right"),
        (
            "inner: {siz: 1, size: 2}",
            "1:9 model.inner.siz: there is no option 'siz' here; did you mean 'size'? known: also, size",
        ),
        ("listed: [{also: 1}]", "1:10 model.listed.0: the option 'size' is missing: How large."),
        ("outer: {inner: {siz: 1}}", "1:17 model.outer.inner.siz: there is no option 'siz' here; did you mean 'size'?"),
        ("inner: 3", "1:8 model.inner: the number 3 is wrong here; a block with size, also would be right"),
        (
            "either: x",
            "1:9 model.either: the text 'x' is wrong here; a whole number or a block with size, also would be right",
        ),
        ("either: {size: x}", "1:16 model.either.size: the text 'x' is wrong here; a whole number would be right"),
        ("blocks: {size: 1, deep: 2}", "1:19 model.blocks.deep: there is no option 'deep' here; known: also, size"),
        (
            "listed: [{size: 1}, {size: x}]",
            "1:28 model.listed.1.size: the text 'x' is wrong here; a whole number would be right",
        ),
        ("code: yy", "1:7 model.code: the text 'yy' is wrong here; a text of the form ^x+$ would be right"),
        ("code: xxxx", "1:7 model.code: the text 'xxxx' is wrong here; a text of at most 3 characters would be right"),
        ("lamda: 2", "1:1 model.lamda: there is no option 'lamda' here; did you mean 'lambda'?"),
        ("lambda_: 2", "1:1 model.lambda_: there is no option 'lambda_' here; did you mean 'lambda'?"),
        ("usee: 2", "1:1 model.usee: there is no option 'usee' here; did you mean 'use'?"),
    ],
)
def test_what_is_wrong_is_said_in_words(text: str, fault: str) -> None:
    (found,) = faults_of(text)
    assert found.startswith(fault)


def test_all_faults_of_a_block_are_told() -> None:
    assert len(faults_of("{count: x, rate: 0, flg: 1, inner: {also: y}, listed: [{}]}")) == 5


def test_the_document_validates_to_equal_options() -> None:
    options = built(
        "{lambda: 2, pair: [5, 6], shape: flat, either: {size: 3}, blocks: {name: a, deep: {size: 1}}, folder: a}"
    )
    document = as_document(options)
    assert document["lambda"] == 2.0
    assert document["pair"] == [5, 6]
    assert Everything.model_validate(document) == options
