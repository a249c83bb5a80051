"""Where the time went: sums that add up."""

from __future__ import annotations

import pytest
from oracles.synthetic_run import make_run

from studyrun.report.cost import cost_of
from studyrun.trace.reader import open_run


@pytest.fixture
def cost(tmp_path):
    make_run(tmp_path / "run", steps=160)
    return cost_of([open_run(tmp_path / "run")])


def test_accounts_are_summed_over_arms(cost):
    accounts = {account.name: account for account in cost.accounts}
    assert accounts["training"].seconds == 8.0
    assert accounts["eigenpairs"].seconds == 10.0
    assert accounts["eigenpairs"].matvecs == 1800
    assert (accounts["sharpness"].calls, accounts["sharpness"].matvecs) == (122, 1464)


def test_shares_add_up_to_one_and_the_largest_comes_first(cost):
    assert sum(account.share for account in cost.accounts) == pytest.approx(1)
    assert [a.seconds for a in cost.accounts] == sorted((a.seconds for a in cost.accounts), reverse=True)


def test_what_no_account_explains_is_named(tmp_path, cost):
    run = open_run(tmp_path / "run")
    for arm in run.arms.values():
        arm.attributes["seconds"] = 30.0  # accounts explain 18 of them
    rest = {account.name: account.seconds for account in cost_of([run]).accounts}["everything else"]
    assert rest == pytest.approx(60 - cost.total)


def test_a_trace_without_times_has_an_empty_table(tmp_path):
    make_run(tmp_path / "bare", steps=160, branches=False)
    run = open_run(tmp_path / "bare")
    run["baseline"].attributes.clear()
    for probe in run["baseline"].probes.values():
        probe.attributes.clear()
    assert cost_of([run]).accounts == []
    run["baseline"].attributes["shared_seconds"] = "no json"
    assert cost_of([run]).total == 0
