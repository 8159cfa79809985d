"""Real Raft processes with real disks under kill -9 and SIGSTOP: nothing confirmed is lost, nothing is stale."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from raftgossip.sim.linearizability import check
from tests.support.register_cluster import RegisterCluster, RegisterProcess
from tests.support.register_load import LoadClient

pytestmark = pytest.mark.slow

NUM_KILLS = 10
NUM_FREEZES = 5
FREEZE_S = 3.0
FREEZE_LONG_S = 5.0
KEYS = ("a", "b", "c")


@contextmanager
def load(cluster: RegisterCluster, num_clients: int) -> Iterator[list[LoadClient]]:
    """Clients at work; at the end all of them have ended, and none of them by an error."""
    clients = [LoadClient(f"client-{place}", cluster, place, KEYS) for place in range(num_clients)]
    for client in clients:
        client.start()
    try:
        yield clients
    finally:
        for client in clients:
            client.stop()
        for client in clients:
            client.join()
    assert [client.failure for client in clients if client.failure is not None] == []


def wait_for_answers(clients: list[LoadClient], count: int) -> None:
    """Until the clients got so many more answers together."""
    wanted = sum(len(client.acknowledged) for client in clients) + count
    deadline = time.perf_counter() + 20
    while sum(len(client.acknowledged) for client in clients) < wanted:
        assert time.perf_counter() < deadline, "the clients get no answers any more"
        time.sleep(0.01)


def read_until_answered(node: RegisterProcess, key: str, seconds: float) -> list[object]:
    """Every answer that a node gives to linearizable reads within a while."""
    results: list[object] = []
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        answer = node.ask("read", key=key, timeout_ms=300)
        if answer is not None and "error" not in answer:
            results.append(answer["result"])
    return results


def write_at_the_leader(cluster: RegisterCluster, nodes: list[RegisterProcess], sequence: int, value: int) -> None:
    """Until it is confirmed."""
    deadline = time.perf_counter() + 20
    while time.perf_counter() < deadline:
        leader = cluster.leader(nodes)
        answer = leader.ask("write", key="x", value=value, client="writer", sequence=sequence)
        if answer is not None and "error" not in answer:
            return
    raise AssertionError(f"write {sequence} was not confirmed")


def test_under_kills_and_stops_of_the_leader_the_history_is_linearizable_and_nothing_confirmed_is_missing() -> None:
    with RegisterCluster(3) as cluster:
        with load(cluster, num_clients=6) as clients:
            wait_for_answers(clients, 50)
            for place in range(NUM_KILLS + NUM_FREEZES):
                leader = cluster.leader()
                if place % 3 == 2:
                    leader.freeze()
                    time.sleep(FREEZE_S)
                    leader.resume()
                else:
                    leader.kill()
                    wait_for_answers(clients, 20)
                    cluster.start(leader.node_id)
                wait_for_answers(clients, 20)
        last_index = max(status["commit_index"] for status in cluster.statuses().values())
        for node in cluster.nodes.values():
            cluster.wait_applied(node, last_index)
            for client in clients:
                counts = node.ask("executions", client=client.name, **{"from": 1, "to": client.sequence + 1})
                assert counts is not None
                assert max(counts["counts"]) == 1, f"node {node.node_id} applied a command of {client.name} twice"
                missing = [number for number in client.acknowledged if counts["counts"][number - 1] != 1]
                assert missing == [], f"node {node.node_id} lost confirmed commands of {client.name}"
    history = [call for client in clients for call in client.history]
    assert sum(call.answered_at is not None for call in history) >= 500
    verdict = check(history)
    assert verdict.outcome == "linearizable", verdict.explanation


def test_a_leader_that_was_stopped_for_five_seconds_serves_no_stale_read_when_it_goes_on() -> None:
    with RegisterCluster(3) as cluster:
        write_at_the_leader(cluster, list(cluster.nodes.values()), sequence=1, value=1)
        old = cluster.leader()
        others = cluster.others(old)
        assert read_until_answered(old, "x", 0.5)[-1] == 1
        old.freeze()
        # Asked while it is stopped: the question lies in its socket and is among the first things that it sees.
        with socket.create_connection(("127.0.0.1", old.client_port), timeout=15) as early:
            early.sendall(b'{"op": "read", "key": "x", "timeout_ms": 3000}\n')
            frozen_at = time.perf_counter()
            write_at_the_leader(cluster, others, sequence=2, value=2)
            time.sleep(max(0.0, FREEZE_LONG_S - (time.perf_counter() - frozen_at)))
            old.resume()
            results = read_until_answered(old, "x", 3.0)
            first_answer = json.loads(early.recv(1 << 12))
    assert first_answer.get("result", 2) == 2
    assert set(results) == {2}, "the old leader answered from before it was stopped"
