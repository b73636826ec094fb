"""The named values of a record, each of them checked before anybody uses it."""

import json
import math
from datetime import datetime
from typing import Any

from fingerprintdb.archive.error import ArchiveError

MOST_INTEGER = 2**63 - 1


class Fields:
    """A JSON object whose values are taken by name; a value that is not as it must be raises.

    `what` names the object in errors, as in "asset 17".
    """

    def __init__(self, values: object, what: str) -> None:
        if not isinstance(values, dict):
            raise ArchiveError(f"{what} is not a JSON object")
        self._values: dict[str, Any] = dict(values)
        self.what = what

    def text(self, name: str, *, is_empty_allowed: bool = False) -> str:
        """Take a text that Postgres can store: UTF-8 without NUL."""
        value = self._take(name)
        if not isinstance(value, str) or not (value or is_empty_allowed):
            raise self.wrong(name, "is not a text")
        if not is_storable(value):
            raise self.wrong(name, "holds characters that a database cannot store")
        return value

    def optional_text(self, name: str, *, is_empty_allowed: bool = True) -> str | None:
        """Take a text or null."""
        if self.is_null(name):
            return None
        return self.text(name, is_empty_allowed=is_empty_allowed)

    def moment(self, name: str) -> str:
        """Take a time as Postgres writes it, in UTC: 2026-01-31 12:00:00.5+00."""
        value = self.text(name)
        try:
            if value not in {"infinity", "-infinity"} and datetime.fromisoformat(value).tzinfo:
                return value
        except ValueError:
            pass
        if value in {"infinity", "-infinity"}:
            return value
        raise self.wrong(name, "is not a time with its zone")

    def integer(self, name: str, least: int = 0, most: int = MOST_INTEGER) -> int:
        """Take a whole number within bounds."""
        value = self._take(name)
        if type(value) is not int or not least <= value <= most:
            raise self.wrong(name, f"is not a whole number from {least} to {most}")
        return value

    def number(self, name: str, least: float = -math.inf, most: float = math.inf) -> float:
        """Take a finite number within bounds."""
        value = self._take(name)
        # A whole number may be too long to be a float.
        if type(value) not in {int, float} or not abs(value) <= 1e308 or not least <= value <= most:
            raise self.wrong(name, f"is not a number from {least} to {most}")
        return float(value)

    def optional_number(
        self, name: str, least: float = -math.inf, most: float = math.inf
    ) -> float | None:
        """Take a finite number within bounds, or null."""
        return None if self.is_null(name) else self.number(name, least, most)

    def flag(self, name: str) -> bool:
        """Take true or false."""
        value = self._take(name)
        if type(value) is not bool:
            raise self.wrong(name, "is neither true nor false")
        return value

    def items(self, name: str) -> list[Any]:
        """Take a list; what it holds is still to be checked."""
        value = self._take(name)
        if not isinstance(value, list):
            raise self.wrong(name, "is not a list")
        return value

    def anything(self, name: str) -> Any:
        """Take a value of any kind; it is still to be checked."""
        return self._take(name)

    def has(self, name: str) -> bool:
        """Say whether there is a value of a name."""
        return name in self._values

    def is_null(self, name: str) -> bool:
        """Say whether a value is null, and if so take it."""
        if name in self._values and self._values[name] is None:
            del self._values[name]
            return True
        return False

    def end(self) -> None:
        """Raise where there is more than was taken: to leave it out unsaid would lose it."""
        if self._values:
            raise ArchiveError(
                f"{self.what} has a field {min(self._values)!r}, which this program does not know",
                "use the program that wrote the file, or a newer one",
            )

    def wrong(self, name: str, how: str) -> ArchiveError:
        """Return the error that says what is wrong with a value."""
        return ArchiveError(f"{name} of {self.what} {how}")

    def _take(self, name: str) -> Any:
        try:
            return self._values.pop(name)
        except KeyError:
            raise ArchiveError(f"{self.what} has no {name}") from None


def is_storable(value: str) -> bool:
    """Say whether Postgres' text can hold it: no NUL, and no half of a surrogate pair."""
    return "\0" not in value and _is_utf8(value)


def storable_json(value: object, what: str) -> str:
    """Return a JSON object as the text that jsonb takes; ArchiveError where it cannot."""
    if not isinstance(value, dict) or not _holds_storable(value):
        raise ArchiveError(f"{what} is not a JSON object that a database can store")
    return json.dumps(value, ensure_ascii=False)


def parsed(text: str | bytes, what: str, *, numbers: type[str] | None = None) -> Any:
    """Return what a JSON text says; ArchiveError where it is none.

    With `numbers=str` numbers are left as they are written, however many digits they have.
    """
    try:
        return json.loads(text, parse_constant=_refused, parse_float=numbers, parse_int=numbers)
    # Too deep, a number of too many digits, bytes that are no UTF-8.
    except (ValueError, RecursionError) as error:
        raise ArchiveError(f"{what} is damaged: it is not JSON") from error


def _holds_storable(value: object) -> bool:
    """Look through everything that a JSON value holds, however deep."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str) and not is_storable(one):
            return False
        if isinstance(one, float) and not math.isfinite(one):
            return False
        if isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            waiting += one
    return True


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refused(constant: str) -> float:
    raise ValueError(constant)
