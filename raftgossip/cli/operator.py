"""One peer, as the commands for operators see it: dialled once, its silence explained."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

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
    RosterDocument,
    StatusDocument,
    epoch_document,
    status_document,
)
from raftgossip.runtime.grpc_operator import OperatorClient

REFRESH_S = 1.0
NO_SUCH_METHOD = "UNIMPLEMENTED"
NOT_CONNECTED = ("failed to connect", "DNS", "Name resolution", "Socket closed", "Connection refused")
"""How gRPC words that nobody listens there; other texts of an unavailable peer are the peer's own."""


@contextmanager
def peer_at(text: str) -> Iterator[OperatorClient]:
    """The peer at `host:port`; closes the connection at the end.

    Raises:
        ConfigError: the text is no address, or something else than a peer answers there.
        ClusterUnreachable: nobody answers, or the peer cannot answer now; says what to do.
    """
    address = Address.parse(text)
    client = OperatorClient(address)
    try:
        yield client
    except TransportError as error:
        raise ClusterUnreachable(_why_silent(address, error)) from error
    except RemoteError as error:
        if str(error).startswith(NO_SUCH_METHOD):
            raise ConfigError(f"{address} is not a peer: give the address of a node, not that of a gateway") from error
        raise
    finally:
        client.close()


def ask_status(client: OperatorClient) -> StatusDocument:
    """What the peer knows now."""
    return status_document(client.status())


def ask_roster(text: str) -> RosterDocument:
    """The cluster's members, from the leader if it answers: it alone knows who responds; else from the peer itself."""
    with peer_at(text) as client:
        status = ask_status(client)
    leader = next((peer["address"] for peer in status["peers"] if peer["is_leader"]), None)
    if status["role"] != "leader" and leader is not None:
        try:
            with peer_at(leader) as client:
                status = ask_status(client)
        except RaftGossipError:
            pass  # what the first peer said is still worth showing
    return {"cluster_id": status["cluster_id"], "leader": status["leader"], "members": status["peers"]}


def watch_status(client: OperatorClient) -> Iterator[StatusDocument]:
    """The same again and again, without end."""
    while True:
        yield ask_status(client)
        time.sleep(REFRESH_S)


def follow_epochs(client: OperatorClient, first: int) -> Iterator[EpochDocument]:
    """Ended epochs from `first` on, each as soon as it has ended, without end."""
    while True:
        for document in ask_epochs(client, first):
            first = document["epoch"] + 1
            yield document
        time.sleep(REFRESH_S)


def ask_epochs(client: OperatorClient, first: int) -> list[EpochDocument]:
    """Ended epochs from `first` on, however many the peer gives at once."""
    found: list[EpochDocument] = []
    while page := [epoch_document(record) for record in client.epochs(first, 0).epochs]:
        found.extend(page)
        first = page[-1]["epoch"] + 1
    return found


def last_epoch(client: OperatorClient) -> int:
    """The newest closed epoch, 0 if there is none."""
    return client.epochs(1, 1).last_epoch


def _why_silent(address: Address, error: TransportError) -> str:
    text = str(error)
    if isinstance(error, DeadlineExceeded):
        return f"the peer at {address} does not answer in time: it may be stopped, overloaded or cut off; try another"
    if any(words in text for words in NOT_CONNECTED):
        return f"no peer answers at {address}: check the address, or start it there with `raftgossip node`"
    return f"the peer at {address} cannot do this now: {text}"
