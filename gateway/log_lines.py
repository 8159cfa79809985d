"""Log lines that people and programs can read: one an event, a sentence and key=value pairs, or one JSON object."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping

from gateway.settings import GatewaySettings

PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:/+@,[]%")
"""Values of other characters are quoted."""
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"


class Event:
    """What happened, and the values that belong to it: `logger.info(Event("node removed", node_id=7))`.

    Formatters that know nothing of it get the text with the pairs.
    """

    def __init__(self, what: str, **values: object) -> None:
        self.what = what
        self.values: Mapping[str, object] = values

    def __str__(self) -> str:
        return " ".join((self.what, *(f"{key}={_quoted(value)}" for key, value in self.values.items())))


class JsonLines(logging.Formatter):
    """One JSON object a record: time, level, logger, event, then the event's values."""

    def __init__(self) -> None:
        super().__init__(datefmt=TIME_FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        """The record in one line."""
        event = record.msg if isinstance(record.msg, Event) else None
        line: dict[str, object] = {
            "time": f"{self.formatTime(record, TIME_FORMAT)}.{int(record.msecs):03d}",
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage() if event is None else event.what,
            **({} if event is None else event.values),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def set_up_logging(settings: GatewaySettings) -> None:
    """Write this program's log to standard error, as the settings say."""
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else text)
    logging.basicConfig(level=settings.log_level, handlers=[handler])


def _quoted(value: object) -> str:
    text = str(value)
    return text if text and PLAIN.issuperset(text) else json.dumps(text)
