"""Clients of a simulated cluster: what they ask, whom, how patiently, and what they saw.

A client does one thing after the other: it reads, writes, compares or counts up a register. It asks any machine. One
that does not lead passes the request on or names the leader; a request without an answer is repeated, elsewhere, under
the same number. After some attempts the client gives up and never learns what became of it. Every call is recorded; at
the end the history must be linearizable, and at once no read may miss what any client was told before it asked.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from raftgossip.core.raft.message import Proposed, ReadRequested
from raftgossip.ids import NodeId
from raftgossip.sim import registers
from raftgossip.sim.knobs import Knobs
from raftgossip.sim.linearizability import Call
from raftgossip.sim.machine import Machine
from raftgossip.sim.network import Network
from raftgossip.sim.registers import Answer, Command, Operation, Result
from raftgossip.sim.surroundings import Surroundings

KEYS = ("a", "b", "c")
CALLS_PER_KEY = 50
"""Then a fresh key takes its place, since judging a history is costly when it is long."""
NUM_ATTEMPTS = 8
MAX_PROBES = 50
NUM_PROBE_READS = 8
STICKINESS = 0.8
"""The chance that a client asks whom it asked before."""


@dataclass(slots=True)
class _Client:
    """One client and what it is doing."""

    name: str
    sequence: int = 0
    call_number: int = 0
    """Tells a late answer to an earlier call from one to this."""
    operation: Operation | None = None
    invoked_at: int = 0
    told_index: int = 0
    """What all clients together had been told of when it asked."""
    num_attempts: int = 0
    favourite: Machine | None = None
    """Who answered it last: it sticks to that machine, also while others have found a new leader."""
    is_probe: bool = False
    """It asks once."""
    patience_ms: int = 0
    """When it asks again."""


class Clients:
    """All clients of one run."""

    def __init__(
        self, world: Surroundings, machines: Sequence[Machine], network: Network, knobs: Knobs, rng: random.Random
    ) -> None:
        self._world = world
        self._machines = machines
        self._network = network
        self._knobs = knobs
        self._rng = rng
        self._waiting: dict[int, tuple[_Client, int, int]] = {}
        """Client, number of its call, and the machine's life, by request id."""
        self._uses = dict.fromkeys(KEYS, 0)
        self._num_values = self._told_index = self._num_bursts = self._num_probes = 0
        self.history: list[Call] = []
        self.is_calm = False
        self._clients = [_Client(f"c{place}") for place in range(knobs.num_clients)]
        for client in self._clients:
            self._pause(client)

    # --- a client's life

    def _pause(self, client: _Client) -> None:
        client.operation = None
        self._world.plan(1 + self._rng.randrange(2 * self._knobs.client_gap_ms), self._begin, client)

    def _begin(self, client: _Client) -> None:
        if self.is_calm:
            return
        client.sequence += 1
        client.operation = self._choose()
        client.invoked_at, client.told_index, client.num_attempts = self._world.now_ms, self._told_index, 0
        favourite = client.favourite if self._rng.random() < STICKINESS else None
        self._attempt(client, client.call_number, favourite or self._anybody())

    def _choose(self) -> Operation:
        place = self._rng.choice(KEYS)
        self._uses[place] += 1
        key = f"{place}{self._uses[place] // CALLS_PER_KEY}"
        self._num_values += 1
        chance = self._rng.random()
        if chance < 0.45:
            return registers.read(key)
        if chance < 0.7:
            return registers.write(key, self._num_values)
        if chance < 0.85:
            return registers.increment(key, 1)
        return registers.compare_and_set(key, self._rng.randint(1, self._num_values), self._num_values)

    def _anybody(self) -> Machine:
        return self._machines[self._rng.randrange(len(self._machines))]

    def _attempt(self, client: _Client, call_number: int, machine: Machine) -> None:
        """Ask a machine, and look again when there was no answer."""
        if call_number != client.call_number:
            return
        client.num_attempts += 1
        if client.num_attempts > NUM_ATTEMPTS or self.is_calm:
            self._record(client, None, None)
            return
        self._travel(self._arrive, client, call_number, client.sequence, client.operation, machine)
        client.patience_ms = self._world.now_ms + self._knobs.config.election_max_ms
        self._world.plan(self._knobs.config.election_max_ms, self._look, client, call_number)

    def _look(self, client: _Client, call_number: int) -> None:
        if call_number == client.call_number and self._world.now_ms >= client.patience_ms:
            self._attempt(client, call_number, self._anybody())

    def _travel(self, action: Callable[..., None], *arguments: object) -> None:
        """Let a request or an answer take its way; it may get lost or arrive twice."""
        for delay_ms in self._network.any_delays_ms():
            self._world.plan(delay_ms, action, *arguments)

    def _record(self, client: _Client, answered_at: int | None, result: Result) -> None:
        assert client.operation is not None
        self.history.append(Call(client.name, client.operation, client.invoked_at, answered_at, result))
        client.call_number += 1
        client.operation = None
        if not client.is_probe:
            self._pause(client)

    def finish(self) -> None:
        """The run is over: nobody knows what becomes of the calls that are still on their way."""
        for client in self._clients:
            if client.operation is not None:
                self._record(client, None, None)

    # --- two leaders

    def note_leader(self, machine: Machine) -> None:
        """A node was elected while another still thinks that it leads: write here and read there, for that is where a
        stale answer would come from."""
        if self.is_calm or len(self._world.leaders()) < 2 or self._num_probes >= MAX_PROBES:
            return
        self._num_probes += 1
        key = f"probe {self._num_probes}"
        self._probe(registers.write(key, self._num_probes), machine)
        gap_ms = 1 + self._knobs.config.heartbeat_ms // 4
        for place in range(1, 1 + NUM_PROBE_READS):
            self._world.plan(place * gap_ms, self._probe_old_leader, key)

    def _probe_old_leader(self, key: str) -> None:
        terms = {machine.node_id: machine.node.status().term for machine in self._world.leaders() if machine.node}
        if len(terms) > 1 and not self.is_calm:
            self._probe(registers.read(key), self._machines[min(terms, key=lambda node_id: terms[node_id]) - 1])

    def _probe(self, operation: Operation, machine: Machine) -> None:
        client = _Client(f"p{len(self._clients)}", sequence=1, operation=operation, is_probe=True)
        client.invoked_at, client.told_index = self._world.now_ms, self._told_index
        self._clients.append(client)
        self._attempt(client, client.call_number, machine)

    # --- at the machines

    def _arrive(self, client: _Client, call_number: int, sequence: int, operation: Operation, machine: Machine) -> None:
        if machine.node is None:
            return
        request_id = self._world.new_request()
        self._waiting[request_id] = client, call_number, machine.life
        if operation.kind == "read":
            self._world.submit(machine, ReadRequested(request_id))
        else:
            data = Command(client.name, sequence, sequence, operation).encode()
            self._world.submit(machine, Proposed(request_id, data))

    def refused(self, machine: Machine, request_id: int, leader: NodeId | None) -> None:
        """A machine did not take a request: it passes it on itself, or its client asks the leader."""
        found = self._waiting.pop(request_id, None)
        if found is None:
            return
        client, call_number, _ = found
        if call_number != client.call_number:
            return
        next_machine = self._machines[leader - 1] if leader is not None else self._anybody()
        if leader in (None, machine.node_id):
            self._world.plan(2 * self._knobs.config.heartbeat_ms, self._attempt, client, call_number, next_machine)
        elif self._rng.random() < self._knobs.forwards and client.num_attempts < NUM_ATTEMPTS:
            client.num_attempts += 1
            operation = client.operation
            for delay_ms in self._network.delays_ms(machine.node_id, next_machine.node_id):
                self._world.plan(delay_ms, self._arrive, client, call_number, client.sequence, operation, next_machine)
        else:
            self._world.plan(1, self._attempt, client, call_number, next_machine)

    def applied(self, machine: Machine, request_id: int, answer: Answer | None) -> None:
        """A machine applied a command that was proposed there."""
        found = self._waiting.pop(request_id, None)
        if found is not None and found[2] == machine.life and answer is not None and answer.status == "executed":
            self._travel(self._answered, found[0], found[1], machine, answer.result, machine.replica.index)

    def granted(self, machine: Machine, request_id: int) -> None:
        """A machine may answer a read from its registers."""
        found = self._waiting.pop(request_id, None)
        if found is None or found[2] != machine.life:
            return
        client, call_number, _ = found
        if call_number != client.call_number or client.operation is None:
            return
        index = machine.replica.index
        assert index >= client.told_index, (
            f"stale read: node {machine.node_id} answers from entry {index}, "
            f"but an answer from entry {client.told_index} was given before {client.name} asked"
        )
        value = machine.replica.registers.read(client.operation.key)
        self._travel(self._answered, client, call_number, machine, value, index)

    def _answered(self, client: _Client, call_number: int, machine: Machine, result: Result, index: int) -> None:
        if call_number == client.call_number:
            client.favourite = machine
            self._told_index = max(self._told_index, index)
            self._record(client, self._world.now_ms, result)

    # --- load without a history

    def burst(self, machine: Machine, num_commands: int) -> None:
        """So many commands at once, whose answers nobody waits for: they fill batches and windows."""
        for _ in range(num_commands):
            self._num_bursts += 1
            stamp = self._num_bursts, max(1, self._num_bursts - 200)
            data = Command("burst", *stamp, registers.increment("burst", 1)).encode()
            self._world.submit(machine, Proposed(self._world.new_request(), data))
