"""The bibliography: one entry for each work, whoever cites it and however."""

from __future__ import annotations

import pytest
from oracles.synthetic_run import make_run

from studyrun.registry import Registry
from studyrun.report.sources import Bibliography, bibliography
from studyrun.trace.reader import open_run


def entries(*texts):
    found = Bibliography()
    for user, text in enumerate(texts):
        found.add(text, f"user{user}")
    return [(source.key, source.link, source.text, source.users) for source in found]


def test_an_arxiv_number_is_one_work_in_every_spelling():
    assert entries("arXiv:2103.00065", "Cohen et al. 2021, arXiv 2103.00065v2, Section 3", "arxiv: 2103.00065.") == [
        ("arXiv:2103.00065", "https://arxiv.org/abs/2103.00065", "Cohen et al. 2021",
         ["user0", "user1 (Section 3)", "user2"])
    ]  # fmt: skip


def test_a_doi_is_linked():
    ((key, link, text, _),) = entries("Lanczos 1950, doi:10.6028/jres.045.026.")
    assert (key, link, text) == ("doi:10.6028/jres.045.026", "https://doi.org/10.6028/jres.045.026", "Lanczos 1950")


def test_several_works_in_one_line_stand_apart():
    assert [
        key for key, *_ in entries("A 2021, arXiv 2103.00065; B 2023, arXiv 2311.04163; Golub and Van Loan 2013")
    ] == [
        "arXiv:2103.00065",
        "arXiv:2311.04163",
        "Golub and Van Loan 2013",
    ]


@pytest.mark.parametrize("text", ["", " ; ", "."])
def test_nothing_cited_is_nothing(text):
    assert entries(text) == []


def test_a_run_cites_through_its_study_its_components_and_its_probes(tmp_path):
    make_run(tmp_path / "run", steps=160)
    found = {source.key: source.users for source in bibliography(open_run(tmp_path / "run"), Registry())}
    assert "this study" in found["arXiv:2606.04212"]
    assert any(user.startswith("edge_of_stability") for user in found["arXiv:2606.04212"])
    assert any(user.startswith("sharpness") for user in found["arXiv:2103.00065"])


def test_a_component_whose_source_is_gone_is_passed_over(tmp_path):
    make_run(tmp_path / "run", steps=160)
    run = open_run(tmp_path / "run")
    run.document["model"] = {"use": "no_such_model"}
    run.document["stop"] = {"steps": 3, "when": {"use": "loss_below", "value": 0.1}}
    assert list(bibliography(run, Registry()))
