"""Facts -> log lines: one line each, for people (`console`) or for machines (`json`).

Every line has the time and the node. A fact says what became true; how loud that is, is decided here alone. Text that
came from elsewhere is escaped, so that a peer cannot write lines of its own; what looks like a secret is masked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, TextIO, assert_never

import structlog

from raftgossip.errors import ConfigError
from raftgossip.facts import (
    ClusterEntered,
    ConfigurationChanged,
    EpochClosed,
    EpochOpened,
    Fact,
    LeaderKnown,
    LedgerFact,
    Listening,
    Notice,
    PeerCaughtUp,
    PeerFact,
    PeerResponsive,
    PeerUnresponsive,
    RaftFact,
    RemoteRefused,
    RoleChanged,
    RosterChanged,
    RunStarted,
)
from raftgossip.observe.escape import printable

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("console", "json")
SECRET_WORDS = ("owner", "token", "secret", "password", "private_key")
"""A field whose name contains one of them is masked."""
DIGEST_CHARACTERS = 12
"""Of a digest, for people; machines get all of it."""

Fields = Mapping[str, object]
Line = tuple[str, str, Fields]
"""Level, event, fields."""


def fact_logger(
    stream: TextIO,
    wall_ms: Callable[[], int],
    log_format: str = "console",
    level: str = "info",
    more: Callable[[Fact], Fields] = lambda _: {},
) -> Callable[[Fact], None]:
    """A sink that writes each fact as one line to `stream`; colours only on a terminal.

    `wall_ms`: milliseconds since the Unix epoch. `more`: further fields of a fact's line, e.g. an epoch's metrics.
    The sink never raises because of its stream: a log that cannot be written must not stop a training run, so the sink
    falls silent instead.

    Raises:
        ConfigError: unknown format or level.
    """
    if log_format not in FORMATS:
        raise ConfigError(f"log_format is {log_format!r}; it must be one of {', '.join(FORMATS)}")
    if level not in LEVELS:
        raise ConfigError(f"log_level is {level!r}; it must be one of {', '.join(LEVELS)}")
    renderers = _json_renderers() if log_format == "json" else _console_renderers(stream)
    processors = [_drop_empty, _mask_secrets, *renderers]
    logger: Any = structlog.wrap_logger(
        structlog.WriteLogger(stream), processors=processors, cache_logger_on_first_use=True
    )
    loudness = LEVELS.index(level)
    node: int | None = None
    last_term = 0
    broken = False

    def write(fact: Fact) -> None:
        nonlocal node, last_term, broken
        if isinstance(fact, Listening):
            node = fact.node_id
        line_level, event, fields = line_of(fact)
        if isinstance(fact, LeaderKnown):
            if fact.leader is None and fact.term > last_term > 0:
                # Not missed: another node began a term, for it was handed the leadership, or missed the leader itself.
                line_level, event = "info", "leader awaited"
            last_term = fact.term
        if broken or LEVELS.index(line_level) < loudness:
            return
        time = datetime.fromtimestamp(wall_ms() / 1000, UTC)
        try:
            getattr(logger, line_level)(event, time=time, level=line_level, node=node, **{**fields, **more(fact)})
        except (OSError, ValueError):  # the pipe's reader is gone, or the stream is closed
            broken = True

    return write


def line_of(fact: Fact) -> Line:
    """What a fact's line says, and how loud."""
    match fact:
        case RunStarted() | RosterChanged() | EpochOpened() | EpochClosed():
            return _ledger_line(fact)
        case Listening() | ClusterEntered() | Notice() | RemoteRefused():
            return _peer_line(fact)
        case _:
            return _raft_line(fact)


def _ledger_line(fact: LedgerFact) -> Line:
    match fact:
        case RunStarted():
            return "info", "run started", {"index": fact.index}
        case RosterChanged():
            return "info", "node joined" if fact.present else "node left", {"member": fact.node_id}
        case EpochOpened():
            fields = {"epoch": fact.epoch, "attempt": fact.attempt, "participants": fact.participants}
            return ("warning", "exchange repeated", fields) if fact.attempt > 1 else ("info", "epoch opened", fields)
        case EpochClosed():
            closed = fact.outcome == "closed"
            return (
                "info" if closed else "warning",
                "epoch closed" if closed else "epoch failed",
                {
                    "epoch": fact.epoch,
                    "attempt": fact.attempt,
                    "outcome": fact.outcome,
                    "contributors": fact.contributors,
                    "model": fact.model_digest,
                },
            )
        case _:
            assert_never(fact)


def _raft_line(fact: RaftFact) -> Line:
    match fact:
        case RoleChanged():
            level = "info" if fact.role == "leader" else "debug"
            return level, "role changed", {"role": fact.role, "term": fact.term}
        case LeaderKnown(None):
            return "warning", "leader lost", {"term": fact.term}
        case LeaderKnown():
            return "info", "leader elected", {"leader": fact.leader, "term": fact.term}
        case PeerUnresponsive():
            return "warning", "peer unresponsive", {"peer": fact.node_id}
        case PeerResponsive():
            return "info", "peer responsive", {"peer": fact.node_id}
        case PeerCaughtUp():
            return "debug", "peer caught up", {"peer": fact.node_id, "match_index": fact.match_index}
        case ConfigurationChanged():
            fields = {"voters": fact.voters, "learners": fact.learners, "index": fact.index}
            return "info", "configuration changed", fields
        case _:
            assert_never(fact)


def _peer_line(fact: PeerFact) -> Line:
    match fact:
        case Listening():
            return "info", "listening", {"address": fact.address}
        case ClusterEntered():
            return "info", "cluster entered", {"cluster": fact.cluster_id, "how": fact.how}
        case Notice():
            return "warning", "notice", {"text": fact.text}
        case RemoteRefused():
            return "warning", "refused", {"peer": fact.node_id, "reason": fact.reason}
        case _:
            assert_never(fact)


# --- structlog's processors: each takes the fields of a line and gives them back


def _drop_empty(_logger: object, _name: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: value for key, value in fields.items() if value not in (b"", ()) or key in ("node", "time")}


def _mask_secrets(_logger: object, _name: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: "***" if any(word in key for word in SECRET_WORDS) else value for key, value in fields.items()}


def _json_renderers() -> list[Any]:
    return [_plain_values, structlog.processors.JSONRenderer()]


def _console_renderers(stream: TextIO) -> list[Any]:
    colours = stream.isatty()
    renderer = structlog.dev.ConsoleRenderer(colors=colours, timestamp_key="time", pad_event_to=22, sort_keys=False)
    return [_short_values, renderer]


def _plain_values(_logger: object, _name: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    def plain(value: Any) -> Any:
        match value:
            case bytes():
                return value.hex()
            case datetime():
                return value.isoformat(timespec="milliseconds")
            case tuple():
                return list(value)
            case Mapping():
                return dict(value)
            case _:
                return value

    return {key: plain(value) for key, value in fields.items()}


def _short_values(_logger: object, _name: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    def short(value: Any) -> Any:
        match value:
            case bytes():
                return value.hex()[:DIGEST_CHARACTERS]
            case datetime():
                return value.astimezone().strftime("%H:%M:%S.%f")[:-3]
            case tuple():
                return ",".join(str(each) for each in value)
            case float():
                return f"{value:.4g}"
            case str():
                return printable(value)
            case Mapping():
                return ",".join(f"{printable(str(key))}:{short(entry)}" for key, entry in value.items())
            case _:
                return value

    return {key: short(value) for key, value in fields.items()}
