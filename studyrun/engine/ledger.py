"""Where the time went: seconds by account, nested work billed once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter


class Ledger:
    """Seconds, calls and matrix-vector products by account. A bill inside a bill is taken off the outer one."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: defaultdict[str, int] = defaultdict(int)
        self.products: defaultdict[str, int] = defaultdict(int)
        self._inner: list[float] = []

    @contextmanager
    def bill(self, account: str) -> Iterator[None]:
        """Bill the block's wall-clock seconds, less what was billed inside it, to `account`."""
        self._inner.append(0.0)
        start = perf_counter()
        try:
            yield
        finally:
            spent = perf_counter() - start
            self.seconds[account] += spent - self._inner.pop()
            self.calls[account] += 1
            if self._inner:
                self._inner[-1] += spent

    def to_dict(self) -> dict[str, dict[str, float]]:
        """What a checkpoint holds."""
        return {"seconds": dict(self.seconds), "calls": dict(self.calls), "products": dict(self.products)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Mapping[str, float]]) -> Ledger:
        """The inverse of `to_dict`."""
        ledger = cls()
        ledger.seconds.update(content.get("seconds", {}))
        ledger.calls.update({account: int(count) for account, count in content.get("calls", {}).items()})
        ledger.products.update({account: int(count) for account, count in content.get("products", {}).items()})
        return ledger
