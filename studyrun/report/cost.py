"""Where the time went: training, work that probes share, and each probe, summed over arms and runs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studyrun.trace.reader import Arm, Run

SMALLEST_REST = 0.005  # of the whole: less than that goes without a line of its own


@dataclass
class Account:
    """One line of the table: seconds, how often, and matrix-vector products (0 where there are none)."""

    name: str
    kind: str
    seconds: float = 0.0
    calls: int = 0
    matvecs: int = 0
    share: float = 0.0


@dataclass(frozen=True)
class Cost:
    """The whole table, largest account first, and the total in seconds."""

    accounts: Sequence[Account] = ()
    total: float = 0.0


@dataclass
class _Ledger:
    accounts: dict[tuple[str, str], Account] = field(default_factory=dict)

    def add(self, kind: str, name: str, seconds: Any, calls: Any = 0, matvecs: Any = 0) -> None:
        account = self.accounts.setdefault((kind, name), Account(name, kind))
        account.seconds += float(seconds or 0)
        account.calls += int(calls or 0)
        account.matvecs += int(matvecs or 0)


def cost_of(runs: Iterable[Run]) -> Cost:
    """Sum every account over the runs and their arms; what no account explains is called `everything else`."""
    ledger, whole = _Ledger(), 0.0
    for arm in (arm for run in runs for arm in run.arms.values()):
        _bill(ledger, arm)
        whole += float(arm.attributes.get("seconds") or 0)
    named = sum(account.seconds for account in ledger.accounts.values())
    if whole > 0 and whole - named > SMALLEST_REST * whole:
        ledger.add("rest", "everything else", whole - named)
    total = max(whole, named)
    accounts = sorted(ledger.accounts.values(), key=lambda account: -account.seconds)
    for account in accounts:
        account.share = account.seconds / total if total else 0.0
    return Cost([account for account in accounts if account.seconds or account.calls or account.matvecs], total)


def _bill(ledger: _Ledger, arm: Arm) -> None:
    ledger.add("training", "training", arm.attributes.get("training_seconds"))
    products = defaultdict(int, _numbers(arm.attributes.get("shared_matvecs")))
    for name, seconds in _numbers(arm.attributes.get("shared_seconds")).items():
        ledger.add("shared", name, seconds, matvecs=products[name])
    for label, probe in arm.probes.items():
        values = probe.attributes
        ledger.add("probe", label, values.get("seconds"), values.get("calls"), values.get("matvecs"))


def _numbers(text: Any) -> Mapping[str, Any]:
    """The JSON object of an attribute; empty where it is missing or no object."""
    try:
        found = json.loads(text) if text else {}
    except (TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
