"""The documents of `documents.py`, drawn for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table

from raftgossip.cli.output import make_table
from raftgossip.observe.escape import printable
from raftgossip.runtime.grpc_documents import (
    EpochDocument,
    LogDocument,
    LogEntryDocument,
    MemberDocument,
    RosterDocument,
    StatusDocument,
)

DIGEST_CHARACTERS = 12
EPOCH_COLUMNS = ("epoch", "outcome", "attempt", "leader", "contributors", "metrics", "MB", "closed at", "model")
EPOCH_WIDTHS = (5, 7, 7, 6, 14, 32, 8, 9, 12)
LOG_COLUMNS = ("index", "term", "kind", "bytes", "applied at", "what")
LOG_WIDTHS = (8, 6, 13, 8, 10, 40)
ABSENT = "-"


def status_view(document: StatusDocument) -> Group:
    """One peer's knowledge: a list of facts, and its peers."""
    rows = [(name, value) for name, value in _facts(document) if value]
    parts: list[RenderableType] = [make_table(("", ""), rows), "", members_table(document["peers"])]
    asked = document["leader_asked"]
    if asked is None:
        parts += _unknown(document["leader"])
    elif asked != document["node_id"]:
        parts += ["", f"Who answers, and how far each log is, was told by the leader, node {asked}."]
    return Group(*parts)


def members_view(document: RosterDocument) -> Group:
    """The roster, and what is not known of it."""
    missing = _unknown(document["leader"]) if document["leader_asked"] is None else []
    return Group(members_table(document["members"]), *missing)


def _unknown(leader: int | None) -> list[str]:
    """What stands below a roster whose leader was not heard."""
    reason = "No leader is known" if leader is None else f"The leader, node {leader}, does not answer"
    return ["", f"{reason}: who answers, and how far each log is, are unknown; retry in a few seconds."]


def _facts(document: StatusDocument) -> list[tuple[str, str]]:
    run, opened = document["run"], document["open_epoch"]
    leader = document["leader"]
    return [
        ("node", f"{document['node_id']} ({document['role']}, {document['phase']})"),
        ("cluster", document["cluster_id"] or "none yet"),
        ("leader", "unknown: no majority, or an election is going on" if leader is None else f"node {leader}"),
        ("term", str(document["term"])),
        (
            "log",
            f"{document['first_index']} to {document['last_index']}, committed {document['commit_index']}, "
            f"applied {document['applied_index']}",
        ),
        ("snapshot", f"up to {document['snapshot_index']}" if document["snapshot_index"] else ""),
        ("voters before", ", ".join(map(str, document["outgoing"]))),
        (
            "run",
            ""
            if run is None
            else f"{run['task']}, {run['algorithm']} on {run['topology']}, {_budget(run['num_epochs'])}",
        ),
        ("model", "" if run is None else f"{run['num_elements']:,} parameters, {_digest(document['model_digest'])}"),
        (
            "closed epoch",
            f"{document['last_closed_epoch']}{', the run is finished' if document['run_finished'] else ''}",
        ),
        ("open epoch", "" if opened is None else _open(opened["epoch"], opened["attempt"], opened["participants"])),
        ("metrics", _metrics(document["metrics"])),
        ("message", document["message"]),
        ("up", duration(document["uptime_ms"])),
        ("version", document["version"]),
    ]


def members_table(members: Sequence[MemberDocument]) -> Table:
    """The roster; who answers, and how far its log is, only if the leader said so."""
    leader_said = any(member["responsive"] is not None for member in members)
    columns = ["node", "role", "address", *(["answers", "log", "lag", "flow"] if leader_said else []), "metadata"]
    rows = []
    for member in members:
        row = [str(member["node_id"]), _role(member), member["address"]]
        if leader_said:
            row += [
                "yes" if member["responsive"] else "NO",
                _number(member["match_index"]),
                _number(member["lag"]),
                member["flow"] or ABSENT,
            ]
        rows.append([*row, ", ".join(f"{key}={value}" for key, value in member["metadata"].items()) or ABSENT])
    return make_table(columns, rows)


def _role(member: MemberDocument) -> str:
    if member["is_leader"]:
        return "leader"
    return member["role"] if member["incarnation"] else f"{member['role']}, awaited"


def log_view(document: LogDocument, first: int | None) -> Group:
    """Entries of the log, one a row. `first`: the index that was asked for; None: the newest."""
    parts: list[RenderableType] = [make_table(LOG_COLUMNS, [_log_cells(entry) for entry in document["entries"]])]
    if first is not None and first < document["first_index"]:
        return Group(f"Entries before {document['first_index']} are in the snapshot only.", *parts)
    if first is not None and first > document["last_index"]:
        return Group(f"The log ends at {document['last_index']}.")
    return Group(*parts)


def log_line(entry: LogEntryDocument) -> str:
    """One entry as one line, for a list that grows."""
    return _aligned(_log_cells(entry), LOG_WIDTHS)


def log_heading() -> str:
    """What stands over such lines."""
    return _aligned(LOG_COLUMNS, LOG_WIDTHS)


def _log_cells(entry: LogEntryDocument) -> tuple[str, ...]:
    applied_at_ms = entry["applied_at_ms"]
    return (
        str(entry["index"]),
        str(entry["term"]),
        entry["kind"],
        str(entry["data_bytes"]),
        ABSENT if applied_at_ms is None else clock_time(applied_at_ms),
        entry["summary"] or ABSENT,
    )


def epochs_table(epochs: Iterable[EpochDocument]) -> Table:
    """Ended epochs, one a row."""
    return make_table(EPOCH_COLUMNS, [_cells(document) for document in epochs])


def epoch_line(document: EpochDocument) -> str:
    """The same as one line, for a list that grows."""
    return _aligned(_cells(document), EPOCH_WIDTHS)


def epoch_heading() -> str:
    """What stands over such lines."""
    return _aligned(EPOCH_COLUMNS, EPOCH_WIDTHS)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(printable(cell).ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _cells(document: EpochDocument) -> tuple[str, ...]:
    return (
        str(document["epoch"]),
        document["outcome"],
        str(document["attempt"]),
        str(document["leader"] or ABSENT),
        ",".join(str(node) for node in document["contributors"]) or document["reason"] or ABSENT,
        _metrics(document["metrics"]) or ABSENT,
        f"{document['bytes_sent'] / 1e6:.2f}",
        clock_time(document["closed_at_ms"]),
        _digest(document["model_digest"]),
    )


def clock_time(wall_ms: int) -> str:
    """A moment as this machine's clock shows it."""
    return f"{datetime.fromtimestamp(wall_ms / 1000, UTC).astimezone():%H:%M:%S}"


def _number(value: int | None) -> str:
    return ABSENT if value is None else str(value)


def _metrics(metrics: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name} {ABSENT if value is None else f'{value:.4g}'}" for name, value in metrics.items())


def _digest(digest: str | None) -> str:
    return digest[:DIGEST_CHARACTERS] if digest else ABSENT


def _budget(num_epochs: int) -> str:
    return f"{num_epochs} epochs" if num_epochs else "until stopped"


def _open(epoch: int, attempt: int, participants: Sequence[int]) -> str:
    repeated = f", attempt {attempt}" if attempt > 1 else ""
    return f"{epoch}{repeated}: nodes {', '.join(str(node) for node in participants)}"


def duration(duration_ms: int) -> str:
    """Hours, minutes and seconds."""
    minutes, seconds = divmod(duration_ms // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
