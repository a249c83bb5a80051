"""What an unquoted word of YAML stands for, as people mean it.

Numbers: `3`, `-2`, `1_000`, `0.1`, `.5`, `2.`, `1e-3`, `1E5`. A number without a point and with an exponent that is not
negative is whole (`1e3` is 1000), so that it fits where a count is asked for. `true`, `false`, `null` and `~` are what
they say, in the spellings True, TRUE and so on too. Everything else is text: `no`, `on`, `y`, dates, 12:30:00, 0x1f.
A leading zero does not make an octal number: `010` is ten.
"""

from __future__ import annotations

import re
from math import isinf

_DIGITS = r"[0-9]+(?:_[0-9]+)*"
_NUMBER = re.compile(rf"([-+]?)(?:({_DIGITS})(\.(?:{_DIGITS})?)?|(\.{_DIGITS}))(?:[eE]([-+]?[0-9]+))?\Z", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?\.inf\Z|\.nan\Z", re.IGNORECASE)
_WORDS = {
    spelt: value
    for word, value in (("true", True), ("false", False), ("null", None))
    for spelt in (word, word.capitalize(), word.upper())
} | {"~": None, "": None}
LARGEST = 2**63 - 1


def resolve(text: str) -> str | int | float | bool | None:
    """What the plain scalar `text` means. Raises ValueError where it is a number that no study can hold."""
    if text in _WORDS:
        return _WORDS[text]
    if _NOT_FINITE.match(text):
        raise ValueError(f"{text} is no finite number; leave the key out, or quote it if a text is meant")
    match = _NUMBER.match(text)
    return _number(text, match) if match else text


def _number(text: str, match: re.Match[str]) -> int | float:
    sign, digits, fraction, bare_fraction, exponent = match.groups()
    whole = digits is not None and fraction is None and bare_fraction is None
    if whole and exponent is None:
        return _bounded(text, f"{sign}{digits}")
    value = _finite(text)
    if whole and int(exponent[:6]) >= 0 and abs(value) <= LARGEST and int(exponent) < 20:
        return _bounded(text, f"{sign}{digits}{'0' * int(exponent)}")
    return value


def _bounded(text: str, digits: str) -> int:
    value = int(digits.replace("_", "")) if len(digits) < 100 else LARGEST + 1
    if abs(value) > LARGEST:
        raise ValueError(f"{text[:24]}{'…' * (len(text) > 24)} is too large; whole numbers reach to 2⁶³ − 1")
    return value


def _finite(text: str) -> float:
    value = float(text.replace("_", ""))
    if isinf(value):
        raise ValueError(f"{text[:24]}{'…' * (len(text) > 24)} is too large for a number in double precision")
    return value
