"""The documents of `documents.py`, drawn for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from rich.console import Group
from rich.table import Table

from raftgossip.cli.output import make_table
from raftgossip.runtime.grpc_documents import EpochDocument, MemberDocument, StatusDocument

DIGEST_CHARACTERS = 12
EPOCH_COLUMNS = ("epoch", "outcome", "attempt", "leader", "contributors", "metrics", "MB", "closed at", "model")
EPOCH_WIDTHS = (5, 7, 7, 6, 14, 32, 8, 9, 12)
ABSENT = "-"


def status_view(document: StatusDocument) -> Group:
    """One peer's knowledge: a list of facts, and its peers."""
    rows = [(name, value) for name, value in _facts(document) if value]
    return Group(make_table(("", ""), rows), "", members_table(document["peers"]))


def _facts(document: StatusDocument) -> list[tuple[str, str]]:
    run, opened = document["run"], document["open_epoch"]
    leader = document["leader"]
    return [
        ("node", f"{document['node_id']} ({document['role']}, {document['phase']})"),
        ("cluster", document["cluster_id"] or "none yet"),
        ("leader", "unknown: no majority, or an election is going on" if leader is None else f"node {leader}"),
        ("term", str(document["term"])),
        ("log", f"{document['applied_index']} applied of {document['last_index']}"),
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
        ("up", _duration(document["uptime_ms"])),
        ("version", document["version"]),
    ]


def members_table(members: Sequence[MemberDocument]) -> Table:
    """The roster; who answers, and how far its log is, only if the leader said so."""
    leader_said = any(member["responsive"] is not None for member in members)
    columns = ["node", "role", "address", *(["answers", "log"] if leader_said else []), "metadata"]
    rows = []
    for member in members:
        row = [str(member["node_id"]), "leader" if member["is_leader"] else member["role"], member["address"]]
        if leader_said:
            row += ["yes" if member["responsive"] else "NO", str(member["match_index"])]
        rows.append([*row, ", ".join(f"{key}={value}" for key, value in member["metadata"].items()) or ABSENT])
    return make_table(columns, rows)


def epochs_table(epochs: Iterable[EpochDocument]) -> Table:
    """Ended epochs, one a row."""
    return make_table(EPOCH_COLUMNS, [_cells(document) for document in epochs])


def epoch_line(document: EpochDocument) -> str:
    """The same as one line, for a list that grows."""
    return _aligned(_cells(document))


def epoch_heading() -> str:
    """What stands over such lines."""
    return _aligned(EPOCH_COLUMNS)


def _aligned(cells: Sequence[str]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, EPOCH_WIDTHS, strict=True)).rstrip()


def _cells(document: EpochDocument) -> tuple[str, ...]:
    closed_at = datetime.fromtimestamp(document["closed_at_ms"] / 1000, UTC).astimezone()
    return (
        str(document["epoch"]),
        document["outcome"],
        str(document["attempt"]),
        str(document["leader"] or ABSENT),
        ",".join(str(node) for node in document["contributors"]) or document["reason"] or ABSENT,
        _metrics(document["metrics"]) or ABSENT,
        f"{document['bytes_sent'] / 1e6:.2f}",
        f"{closed_at:%H:%M:%S}",
        _digest(document["model_digest"]),
    )


def _metrics(metrics: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name} {ABSENT if value is None else f'{value:.4g}'}" for name, value in metrics.items())


def _digest(digest: str | None) -> str:
    return digest[:DIGEST_CHARACTERS] if digest else ABSENT


def _budget(num_epochs: int) -> str:
    return f"{num_epochs} epochs" if num_epochs else "until stopped"


def _open(epoch: int, attempt: int, participants: Sequence[int]) -> str:
    repeated = f", attempt {attempt}" if attempt > 1 else ""
    return f"{epoch}{repeated}: nodes {', '.join(str(node) for node in participants)}"


def _duration(duration_ms: int) -> str:
    minutes, seconds = divmod(duration_ms // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
