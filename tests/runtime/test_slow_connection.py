"""A peer that takes its time to answer a new connection is reached all the same."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from raftgossip.ids import Address
from raftgossip.runtime.grpc_operator import OperatorClient
from tests.support.served_peer import served_peer


@contextmanager
def slow_door(target: Address, delay_s: float) -> Iterator[Address]:
    """Passes one connection on to `target`, both ways, after a delay."""
    listener = socket.create_server(("127.0.0.1", 0))
    sockets = [listener]
    threads: list[threading.Thread] = []
    closed = threading.Event()

    def copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass  # the other end went away

    def serve() -> None:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        sockets.append(client)
        if closed.wait(delay_s):
            return
        server = socket.create_connection((target.host, target.port))
        sockets.append(server)
        threads.append(threading.Thread(target=copy, args=(client, server)))
        threads[-1].start()
        copy(server, client)

    threads.append(threading.Thread(target=serve))
    threads[0].start()
    try:
        yield Address("127.0.0.1", listener.getsockname()[1])
    finally:
        closed.set()
        for each in sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()
        for thread in threads:
            thread.join()


def test_a_connection_that_takes_a_while_is_not_given_up() -> None:
    with served_peer() as served, slow_door(served.address, delay_s=0.7) as door:
        client = OperatorClient(door, timeout_ms=10_000)
        try:
            assert client.status().node_id
        finally:
            client.close()
