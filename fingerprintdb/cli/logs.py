"""Logs to stderr, as text for people or a JSON object a line for programs."""

import json
import logging
from typing import Any

from fingerprintdb.errors import FingerprintError

TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"

# What every record has; the rest was given by the caller as `extra`.
_COMMON = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _Text(logging.Formatter):
    """One line a record; an expected failure has no traceback, whoever logs it."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(_without_expected_traceback(record))


class _Json(logging.Formatter):
    """One JSON object a record: time, level, logger, message, and what the caller added."""

    def format(self, record: logging.LogRecord) -> str:
        record = _without_expected_traceback(record)
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        line |= {key: value for key, value in vars(record).items() if key not in _COMMON}
        return json.dumps(line, default=str, ensure_ascii=False)


def log_to_stderr(level: str, form: str) -> None:
    """Send every record of `level` (debug, info, warning, error) or above to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if form == "json" else _Text(TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _without_expected_traceback(record: logging.LogRecord) -> logging.LogRecord:
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, FingerprintError) or logging.getLogger().isEnabledFor(logging.DEBUG):
        return record
    plain = logging.makeLogRecord(vars(record))
    plain.msg, plain.args = f"{record.getMessage()}: {error}", None
    plain.exc_info = plain.exc_text = None
    return plain
