"""Clients of a cluster of register processes that write down everything they saw, for the linearizability check."""

from __future__ import annotations

import random
import threading
import time

from raftgossip.sim import registers
from raftgossip.sim.linearizability import Call
from raftgossip.sim.registers import Operation, Result
from tests.support.register_cluster import Answer, RegisterClient, RegisterCluster, Unanswered

CALLS_PER_KEY = 60
"""Then a fresh key takes its place, since judging a history is costly when it is long."""
PATIENCE_S = 6.0
"""So long a client repeats one call before it gives up and never learns what became of it."""
ASK_TIMEOUT_S = 1.0
WITHOUT_EFFECT = ("NotLeader", "Busy")


class LoadClient(threading.Thread):
    """One client in a thread of its own: one call after the other, each repeated until it is answered."""

    def __init__(self, name: str, cluster: RegisterCluster, seed: int, keys: tuple[str, ...]) -> None:
        super().__init__(name=name)
        self._cluster = cluster
        self._rng = random.Random(seed)
        self._keys = keys
        self._stop_wanted = threading.Event()
        self._connections: dict[int, tuple[int, RegisterClient]] = {}
        self._node_id = 1
        self.history: list[Call] = []
        self.sequence = 0
        self.acknowledged: list[int] = []
        """Sequences of the commands that were answered."""
        self.failure: BaseException | None = None

    def stop(self) -> None:
        """Let it end its call and then itself."""
        self._stop_wanted.set()

    def run(self) -> None:
        """Until it is stopped."""
        try:
            while not self._stop_wanted.is_set():
                self._call(self._choose())
        except BaseException as error:  # noqa: BLE001 - the test's thread looks at it
            self.failure = error
        finally:
            for _, connection in self._connections.values():
                connection.close()

    def _choose(self) -> Operation:
        key = f"{self._rng.choice(self._keys)}{len(self.history) * len(self._keys) // CALLS_PER_KEY}"
        value = self._rng.randrange(1 << 30)
        chance = self._rng.random()
        if chance < 0.4:
            return registers.read(key)
        if chance < 0.65:
            return registers.write(key, value)
        if chance < 0.85:
            return registers.increment(key, 1)
        return registers.compare_and_set(key, None, value)

    def _call(self, operation: Operation) -> None:
        invoked_at = time.perf_counter_ns()
        if operation.kind != "read":
            self.sequence += 1
        deadline = time.perf_counter() + PATIENCE_S
        certainly_without_effect = True
        while time.perf_counter() < deadline:
            answer = self._ask(operation)
            if answer is not None and "error" not in answer:
                self._record(operation, invoked_at, time.perf_counter_ns(), answer["result"])
                if operation.kind != "read":
                    self.acknowledged.append(self.sequence)
                return
            if answer is None or answer["error"] not in WITHOUT_EFFECT:
                certainly_without_effect = False
            leader = answer.get("leader") if answer is not None else None
            self._node_id = leader or self._rng.choice(list(self._cluster.nodes))
            time.sleep(0.01)
        if not certainly_without_effect:
            self._record(operation, invoked_at, None, None)

    def _record(self, operation: Operation, invoked_at: int, answered_at: int | None, result: Result) -> None:
        self.history.append(Call(self.name, operation, invoked_at, answered_at, result))

    def _ask(self, operation: Operation) -> Answer | None:
        """One attempt at one node; None: no answer."""
        fields: dict[str, object] = {"key": operation.key, "timeout_ms": int(900 * ASK_TIMEOUT_S)}
        op = operation.kind
        if operation.kind != "read":
            fields |= {"client": self.name, "sequence": self.sequence}
        if operation.kind == "write":
            fields["value"] = operation.operand
        elif operation.kind == "increment":
            fields["amount"] = operation.operand
        elif operation.kind == "compare_and_set":
            fields |= {"expected": operation.operand, "value": operation.new}
        try:
            return self._connection().ask("cas" if op == "compare_and_set" else op, **fields)
        except (Unanswered, ConnectionError):
            return None

    def _connection(self) -> RegisterClient:
        """To the node that it asks now; a new one if that was started again elsewhere."""
        port = self._cluster.nodes[self._node_id].client_port
        known = self._connections.get(self._node_id)
        if known is None or known[0] != port:
            if known is not None:
                known[1].close()
            known = self._connections[self._node_id] = port, RegisterClient(port, ASK_TIMEOUT_S)
        return known[1]
