"""One peer, as the commands for operators see it: dialled once, its silence explained."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from raftgossip.cli.dialling import NEVER_ARRIVED, NOT_CONNECTED, why_silent
from raftgossip.errors import (
    ClusterUnreachable,
    ConfigError,
    DeadlineExceeded,
    RaftGossipError,
    RemoteError,
    TransportError,
)
from raftgossip.ids import Address
from raftgossip.runtime.grpc_documents import (
    EpochDocument,
    LogDocument,
    LogEntryDocument,
    MemberDocument,
    RosterDocument,
    StatusDocument,
    epoch_document,
    log_document,
    status_document,
)
from raftgossip.runtime.grpc_operator import ANSWER_MS, OperatorClient
from raftgossip.trust.credentials import LiveCredentials

REFRESH_S = 1.0
HOP_MS = 1_000
"""For the answer of a node that another one named, so that a dead or frozen one costs no more than an election."""
NO_SUCH_METHOD = "UNIMPLEMENTED"


@contextmanager
def peer_at(text: str, credentials: LiveCredentials | None, timeout_ms: int = ANSWER_MS) -> Iterator[OperatorClient]:
    """The peer at `host:port`, which is waited for so long; closes the connection at the end. `credentials`: as whom to
    speak; None: in the open.

    Raises:
        ConfigError: the text is no address, or something else than a peer answers there.
        ClusterUnreachable: nobody answers, or the peer cannot answer now; says what to do.
    """
    address = Address.parse(text)
    client = OperatorClient(address, credentials, timeout_ms)
    try:
        yield client
    except TransportError as error:
        raise ClusterUnreachable(why_silent(address, "peer", credentials, error)) from error
    except RemoteError as error:
        if str(error).startswith(NO_SUCH_METHOD):
            raise ConfigError(f"{address} is not a peer: give the address of a node, not that of a gateway") from error
        raise
    finally:
        client.close()


def ask_status(client: OperatorClient) -> StatusDocument:
    """What the peer knows now."""
    return status_document(client.status())


def ask_status_of_now(client: OperatorClient) -> StatusDocument:
    """The same; everything that was confirmed before is in it."""
    return status_document(client.status_of_now())


AskStatus = Callable[[OperatorClient], StatusDocument]


def ask_roster(text: str, credentials: LiveCredentials | None) -> RosterDocument:
    """The cluster's members, from the leader if it answers: it alone knows who responds; else from the peer itself."""
    with peer_at(text, credentials) as client:
        status = ask_status(client)
    status = _ask_leader_of(status, credentials) or status
    return {
        "cluster_id": status["cluster_id"],
        "leader": status["leader"],
        "leader_asked": status["leader_asked"],
        "members": status["peers"],
    }


def ask_status_and_leader(client: OperatorClient, ask: AskStatus) -> StatusDocument:
    """What the peer knows now, and what its leader alone knows of the others, if the leader answers."""
    status = ask(client)
    told = _ask_leader_of(status, client.credentials)
    if told is None:
        return status
    known = {member["node_id"]: member for member in told["peers"]}
    peers = [_with_leaders_knowledge(member, known.get(member["node_id"])) for member in status["peers"]]
    return {**status, "leader_asked": told["node_id"], "peers": peers}


def _ask_leader_of(status: StatusDocument, credentials: LiveCredentials | None) -> StatusDocument | None:
    """What the leader of this peer says; None: it is the leader itself, or its leader is unknown or silent."""
    leader = next((peer["address"] for peer in status["peers"] if peer["is_leader"]), None)
    if status["role"] == "leader" or leader is None:
        return None
    try:
        with peer_at(leader, credentials, HOP_MS) as client:
            told = ask_status(client)
    except RaftGossipError:
        return None  # what the first peer said is still worth showing
    return told if told["cluster_id"] == status["cluster_id"] and told["role"] == "leader" else None


def _with_leaders_knowledge(member: MemberDocument, known: MemberDocument | None) -> MemberDocument:
    if known is None:
        return member
    return {
        **member,
        "responsive": known["responsive"],
        "match_index": known["match_index"],
        "lag": known["lag"],
        "flow": known["flow"],
    }


def watch_status(client: OperatorClient, ask: AskStatus) -> Iterator[StatusDocument]:
    """`ask_status_and_leader` again and again, without end."""
    while True:
        yield ask_status_and_leader(client, ask)
        time.sleep(REFRESH_S)


def follow_epochs(client: OperatorClient, first: int) -> Iterator[EpochDocument]:
    """Ended epochs from `first` on, each as soon as it has ended, without end."""
    while True:
        for document in ask_epochs(client, first):
            first = document["epoch"] + 1
            yield document
        time.sleep(REFRESH_S)


def ask_epochs(client: OperatorClient, first: int, limit: int | None = None) -> list[EpochDocument]:
    """Ended epochs from `first` on, at most `limit` (None: all), however many the peer gives at once."""
    found: list[EpochDocument] = []
    while limit is None or len(found) < limit:
        page = [epoch_document(record) for record in client.epochs(first, 0).epochs]
        if not page:
            break
        found.extend(page)
        first = page[-1]["epoch"] + 1
    return found[:limit]


def last_epoch(client: OperatorClient) -> int:
    """The newest closed epoch, 0 if there is none."""
    return client.epochs(1, 1).last_epoch


def ask_log(client: OperatorClient, first: int | None, limit: int | None) -> LogDocument:
    """Entries from `first` on (None: the newest), at most `limit` (None: all), however many the peer gives at once."""
    document = log_document(client.log(first or 0, 1))
    newest = document["last_index"]
    start = max(newest - (limit or newest) + 1 if first is None else first, document["first_index"])
    entries: list[LogEntryDocument] = []
    while start <= newest and (limit is None or len(entries) < limit):
        page = log_document(client.log(start, 0))["entries"]
        if not page:
            break
        entries.extend(entry for entry in page if entry["index"] <= newest)
        start = page[-1]["index"] + 1
    return {**document, "entries": entries[:limit]}


def follow_log(client: OperatorClient, first: int) -> Iterator[LogEntryDocument]:
    """Entries from `first` on, each as soon as it is applied, so that none of them is ever taken back; without end."""
    while True:
        page = log_document(client.log(first, 0))
        for entry in page["entries"]:
            if entry["index"] <= page["applied_index"]:
                first = entry["index"] + 1
                yield entry
        time.sleep(REFRESH_S)


def is_not_connected(error: ClusterUnreachable) -> bool:
    """Whether nobody listened, so that nothing can have arrived there."""
    return any(words in str(error.__cause__) for words in NEVER_ARRIVED)


def is_silence(error: ClusterUnreachable) -> bool:
    """Whether no answer came at all; else the peer said itself why it cannot do this now."""
    return isinstance(error.__cause__, DeadlineExceeded) or any(
        words in str(error.__cause__) for words in NOT_CONNECTED
    )
