"""A whole Raft cluster in one process: virtual time, one seeded generator, and everything that can go wrong.

The nodes are the real `RaftNode` cores with the real registers and sessions behind them. Around them stand simulated
disks, a network, clients and an operator. A machine performs a Ready in the order of the real host: prompt messages,
persist, send, install or apply, answer. `Knobs` draws every choice of a run from its seed; so a seed is a run, and a
failure is repeated by its seed. After the faulty part comes a calm one, in which the cluster must elect a leader and
commit fresh proposals everywhere; then the history of the clients must be linearizable.
"""

from __future__ import annotations

import heapq
import random
import traceback
from collections.abc import Callable

from raftgossip.core.raft import membership
from raftgossip.core.raft.message import (
    Applied,
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Message,
    Persisted,
    PreVoteRequest,
    Proposed,
    RaftEvent,
    Ready,
    Received,
    SnapshotTaken,
    Tick,
)
from raftgossip.core.raft.node import RaftNode
from raftgossip.facts import RoleChanged
from raftgossip.ids import LogIndex, NodeId, Term
from raftgossip.sim import registers
from raftgossip.sim.administrator import Administrator
from raftgossip.sim.checks import Checks, Violation
from raftgossip.sim.clients import Clients
from raftgossip.sim.faults import Faults
from raftgossip.sim.knobs import Knobs
from raftgossip.sim.linearizability import check
from raftgossip.sim.machine import Machine, Replica
from raftgossip.sim.network import Network
from raftgossip.sim.outcome import Outcome

NUM_FRESH = 8
"""Proposals that must commit everywhere in the calm part."""


class World:
    """One run. `run` plays it to its end."""

    def __init__(self, seed: int, record: Callable[[str], None] | None = None, num_machines: int | None = None) -> None:
        """`record` takes one line for each thing that happens: equal seeds give equal lines."""
        self.seed = seed
        self._rng = rng = random.Random(seed)
        self.knobs = knobs = Knobs.draw(rng, num_machines)
        self._record = record
        self._now_ms = 0
        self._num_steps = self._num_events = self._num_crashes = 0
        self._queue: list[tuple[int, int, Callable[..., None], tuple[object, ...]]] = []
        self._num_planned = 0
        self._num_requests = 0
        self._network = Network(knobs, rng)
        self._is_calm = False
        self._fresh: dict[bytes, int] = {}
        places = range(1, len(knobs.rates) + 1)
        self._machines = {NodeId(place): Machine(NodeId(place), knobs.rates[place - 1]) for place in places}
        for machine in self._machines.values():
            self._found(machine)
        self._checks = Checks({machine.node_id: machine.disk for machine in self._machines.values()})
        machines = list(self._machines.values())
        for machine in machines:
            self._start(machine)
        self._clients = Clients(self, machines, self._network, knobs, rng)
        self._faults = Faults(self, machines, self._network, knobs, rng)
        self.plan(knobs.proposal_gap_ms, self._burst)
        self._administrator = Administrator(self, machines, knobs, rng)

    def _found(self, machine: Machine) -> None:
        """Write the first configuration on the disks of its voters."""
        if self.knobs.grows:
            if machine.node_id == 1:
                machine.disk.save(*membership.founding(machine.node_id), None)
        elif machine.node_id <= self.knobs.num_voters:
            voters = Configuration(tuple(NodeId(place) for place in range(1, self.knobs.num_voters + 1)))
            first = Entry(LogIndex(1), Term(1), EntryKind.CONFIGURATION, voters.encode())
            machine.disk.save(HardState(Term(1), None, LogIndex(1)), (first,), None)

    # --- the run

    def run(self, num_events: int, min_ms: int = 0) -> Outcome:
        """Play with faults until the cores have handled `num_events` and `min_ms` have passed, then the calm part.

        Raises:
            Violation: a rule was broken, or the calm cluster makes no progress; names seed and step.
        """
        try:
            while self._num_events < num_events or self._now_ms < min_ms:
                self._step()
            calm_from_ms = self._now_ms
            self._run_calm()
            self._judge()
        except (AssertionError, RuntimeError, LookupError, ValueError) as error:
            where = f"seed {self.seed}, step {self._num_steps}, at {self._now_ms} ms"
            raise Violation(f"{where}: {str(error) or _failed_line(error)}") from error
        checks, history = self._checks, self._clients.history
        return Outcome(
            seed=self.seed,
            num_steps=self._num_steps,
            num_events=self._num_events,
            num_elections=checks.num_elections,
            num_crashes=self._num_crashes,
            num_committed=checks.num_committed,
            num_changes=checks.num_changes,
            num_joint=checks.num_joint,
            num_snapshots=checks.num_snapshots,
            num_installed=checks.num_installed,
            num_calls=len(history),
            num_answered=sum(call.answered_at is not None for call in history),
            duration_ms=self._now_ms,
            calm_ms=self._now_ms - calm_from_ms,
        )

    def _judge(self) -> None:
        """Exactly once, and linearizable: what can only be said of a whole history."""
        for machine in self._machines.values():
            machine.replica.registers.check_invariants()
        self._clients.finish()
        verdict = check(self._clients.history)
        assert verdict.outcome == "linearizable", f"{verdict.outcome}: {verdict.explanation}"

    def _step(self) -> None:
        self._now_ms, _, action, arguments = heapq.heappop(self._queue)
        self._num_steps += 1
        action(*arguments)

    # --- what clients and faults use

    @property
    def now_ms(self) -> int:
        """Virtual time."""
        return self._now_ms

    def plan(self, delay_ms: int, action: Callable[..., None], *arguments: object) -> None:
        """Let something happen later; what falls on one moment happens in the order of planning."""
        self._num_planned += 1
        heapq.heappush(self._queue, (self._now_ms + delay_ms, self._num_planned, action, arguments))

    def note(self, *parts: object) -> None:
        """Write down what happens."""
        if self._record is not None:
            self._record(" ".join([str(self._now_ms), *map(str, parts)]))

    def new_request(self) -> int:
        """A number that no other request has."""
        self._num_requests += 1
        return self._num_requests

    def submit(self, machine: Machine, event: RaftEvent) -> None:
        """Put an event into a machine's mailbox, if it runs."""
        if machine.node is not None:
            machine.mailbox.append(event)
            self._run_soon(machine, 0)

    def leaders(self) -> list[Machine]:
        """Machines whose node thinks that it leads."""
        return [
            machine for machine in self._machines.values() if machine.node and machine.node.status().role == "leader"
        ]

    def _pick(self, span: tuple[int, int]) -> int:
        return span[0] + int(self._rng.random() * (span[1] - span[0] + 1))

    # --- machines

    def _start(self, machine: Machine) -> None:
        """Begin a life with what the disk holds."""
        machine.life += 1
        disk = machine.disk
        machine.replica = Replica()
        if disk.snapshot is not None:
            machine.replica.restore(disk.snapshot.snapshot.last_index, disk.snapshot.snapshot.data)
        machine.node = RaftNode(
            machine.node_id,
            self.knobs.config,
            random.Random(self._rng.getrandbits(64)),
            hard_state=disk.hard_state,
            snapshot=disk.snapshot,
            entries=tuple(disk.entries),
            now_ms=machine.local_ms(self._now_ms),
        )
        self.note("start", machine.node_id, disk.hard_state, disk.base_index, len(disk.entries))
        self._checks.restarted(machine.node_id)
        self._checks.restored(machine.node.status())
        self._run_soon(machine, 0)

    def crash(self, machine: Machine) -> None:
        """Lose everything but the disk. Of what was on the way there a prefix arrives: the first transaction behind it
        may be torn, and then the store finds it and drops it as a whole."""
        if machine.node is None:
            return
        num_saved = self._rng.randint(0, len(machine.writing))
        for ready in list(machine.writing)[:num_saved]:
            machine.disk.save(ready.hard_state, ready.entries, ready.snapshot)
            self._checks.saved(ready)
        self.note("crash", machine.node_id, num_saved, len(machine.writing))
        self._num_crashes += 1
        machine.die()

    def restart(self, machine: Machine) -> None:
        """Start it, if it does not run and its disk has room."""
        if machine.node is None and not machine.is_full:
            self._start(machine)

    def _run_soon(self, machine: Machine, delay_ms: int) -> None:
        """Have the machine look at its mailbox; what arrives until then is one batch."""
        if not machine.has_run_planned:
            machine.has_run_planned = True
            self.plan(delay_ms, self._run_mail, machine, machine.life)

    def _wake_in_time(self, machine: Machine, deadline_ms: int) -> None:
        """Have the machine look at its deadline when its clock shows `deadline_ms`; an earlier look does that too."""
        at_ms = max(self._now_ms + 1, machine.world_ms(deadline_ms))
        if machine.wake_at_ms is None or machine.wake_at_ms > at_ms:
            machine.wake_at_ms = at_ms
            self.plan(at_ms - self._now_ms, self._wake, machine, machine.life, at_ms)

    def _is_paused(self, machine: Machine, action: Callable[..., None], *arguments: object) -> bool:
        """Whether it is stopped; then the action comes when it goes on."""
        left_ms = machine.paused_until_ms - self._now_ms
        if left_ms > 0:
            self.plan(left_ms, action, *arguments)
        return left_ms > 0

    def _run_mail(self, machine: Machine, life: int) -> None:
        if life == machine.life and not self._is_paused(machine, self._run_mail, machine, life):
            machine.has_run_planned = False
            self._run(machine)

    def _wake(self, machine: Machine, life: int, at_ms: int) -> None:
        if life == machine.life and at_ms == machine.wake_at_ms:
            if self._is_paused(machine, self._wake, machine, life, at_ms):
                return
            machine.wake_at_ms = None
            self._run(machine)

    def _run(self, machine: Machine) -> None:
        """As the driver does: an overdue deadline first, then mail, then what follows."""
        node = machine.node
        assert node is not None
        if self.knobs.is_serial and machine.writing:
            return
        deadline_ms = node.deadline_ms()
        if deadline_ms is not None and deadline_ms <= machine.local_ms(self._now_ms):
            self._handle(machine, Tick())
        max_batch = len(machine.mailbox) if self._is_calm else 1 + int(self._rng.random() * self.knobs.max_batch)
        for _ in range(min(len(machine.mailbox), max_batch)):
            self._handle(machine, machine.mailbox.popleft())
        self._take_readys(machine)

    def _handle(self, machine: Machine, event: RaftEvent) -> None:
        assert machine.node is not None
        if self._record is not None:
            self.note(machine.node_id, event)
        self._num_events += 1
        is_question = isinstance(event, Received) and isinstance(event.message.body, PreVoteRequest)
        term = machine.node.status().term if is_question else None
        machine.node.handle(event, machine.local_ms(self._now_ms))
        machine.node.check_invariants()
        # Thesis section 9.6: a candidate that only asks must not disturb those whom it asks.
        assert term is None or machine.node.status().term == term, f"a pre-vote raises node {machine.node_id}'s term"

    def _take_readys(self, machine: Machine) -> None:
        """Take what the node hands out, perform what needs no disk, and see when it must run next."""
        node, life = machine.node, machine.life
        assert node is not None
        while (ready := node.ready()) is not None:
            self._checks.handed_out(machine.node_id, ready)
            for message in ready.prompt_messages:
                self._send(message)
            if any(isinstance(fact, RoleChanged) and fact.role == "leader" for fact in ready.facts):
                self._faults.note_leader(machine)
                self._clients.note_leader(machine)
            machine.writing.append(ready)
            if len(machine.writing) > 1:
                continue
            if ready.needs_disk:
                self.plan(self._fsync_delay_ms(), self._synced, machine, life)
                if self.knobs.is_serial:
                    return
            else:
                self._perform(machine, machine.writing.popleft())
        if machine.mailbox:
            self._run_soon(machine, 1)
        deadline_ms = node.deadline_ms()
        if deadline_ms is not None:
            self._wake_in_time(machine, deadline_ms)

    def _fsync_delay_ms(self) -> int:
        if not self._is_calm and self._rng.random() < self.knobs.slow_fsync:
            return self._pick((1, self.knobs.outage_ms + self.knobs.config.election_max_ms))
        return self._pick(self.knobs.fsync_ms)

    def _synced(self, machine: Machine, life: int) -> None:
        """The oldest Ready is on disk; those behind it that need no disk follow at once."""
        if life != machine.life or self._is_paused(machine, self._synced, machine, life):
            return
        if machine.is_full:
            self.note("stops", machine.node_id)
            machine.die()
            return
        ready = machine.writing.popleft()
        machine.disk.save(ready.hard_state, ready.entries, ready.snapshot)
        self._checks.saved(ready)
        self._perform(machine, ready)
        while machine.writing:
            if machine.writing[0].needs_disk:
                self.plan(self._fsync_delay_ms(), self._synced, machine, life)
                break
            self._perform(machine, machine.writing.popleft())
        self._take_readys(machine)

    def _perform(self, machine: Machine, ready: Ready) -> None:
        """What comes after persisting, in the host's order: send, install, apply, answer, tell the core."""
        for message in ready.messages:
            self._send(message)
        for appended in ready.appended:
            machine.places[appended.index] = appended.term, appended.request_id
        if ready.snapshot is not None and ready.snapshot.is_received:
            snapshot = ready.snapshot.snapshot
            machine.replica.restore(snapshot.last_index, snapshot.data)
            self._checks.installed(machine.node_id, snapshot.last_index, machine.replica.chain)
        for entry in ready.committed:
            self._apply(machine, entry)
        for refused in ready.refused:
            self._clients.refused(machine, refused.request_id, refused.leader)
        for read in ready.reads:
            assert machine.replica.index >= read.index, f"a read of {read.index} is granted before that is applied"
            self._clients.granted(machine, read.request_id)
        if ready.entries:
            self._handle(machine, Persisted(ready.entries[-1].index))
        if ready.committed:
            self._handle(machine, Applied(ready.committed[-1].index))

    def _apply(self, machine: Machine, entry: Entry) -> None:
        answer = machine.replica.apply(entry)
        self._checks.applied(machine.node_id, entry.index, machine.replica.chain)
        if entry.data in self._fresh:
            self._fresh[entry.data] = entry.index
        place = machine.places.pop(entry.index, None)
        if place is not None and place[0] == entry.term:
            self._clients.applied(machine, place[1], answer)
        if machine.replica.num_since_snapshot >= self.knobs.config.snapshot_entries:
            # Encoded at once, handed over later, as if another thread had taken its time.
            data = machine.replica.capture()
            self.plan(self._pick(self.knobs.fsync_ms), self._snapshot_taken, machine, machine.life, entry.index, data)

    def _snapshot_taken(self, machine: Machine, life: int, index: LogIndex, data: bytes) -> None:
        if life == machine.life:
            self.submit(machine, SnapshotTaken(index, data))

    # --- network

    def _send(self, message: Message) -> None:
        self._checks.sent(message)
        for delay_ms in self._network.delays_ms(message.sender, message.receiver):
            self.plan(delay_ms, self._deliver, message)

    def _deliver(self, message: Message) -> None:
        machine = self._machines.get(message.receiver)
        if machine is None or machine.node is None or self._network.is_cut(message.sender, message.receiver):
            return
        machine.mailbox.append(Received(message))
        self._run_soon(machine, 0 if self.knobs.max_batch == 1 else 1)

    # --- load

    def _burst(self) -> None:
        """Commands for a leader, or for anybody, beside those of the clients."""
        if not self._is_calm:
            self._clients.burst(self._faults.victim(), self._rng.choice((1, 1, 2, 8)))
            self.plan(self._pick((1, 2 * self.knobs.proposal_gap_ms)), self._burst)

    # --- the calm part

    def _run_calm(self) -> None:
        """End all faults; within a bound one leader must lead all members, and fresh proposals reach every member.

        The bound is twenty long election timeouts of the slowest clock, and for those who lag two round trips with
        their fsyncs per entry, since a run may allow one entry a message and one message on the way.
        """
        self._is_calm = self._clients.is_calm = self._faults.is_calm = self._administrator.is_calm = True
        self._network.calm_down()
        self.note("calm")
        for machine in self._machines.values():
            machine.is_full, machine.paused_until_ms = False, 0
            self.restart(machine)
        knobs = self.knobs
        election_ms = knobs.config.election_max_ms * 1000 // min(knobs.rates)
        round_trip_ms = 2 * (knobs.delay_ms[1] + knobs.fsync_ms[1] + 2)
        num_entries = max(len(machine.disk.entries) for machine in self._machines.values())
        num_bytes = max(len(machine.replica.capture()) for machine in self._machines.values())
        num_chunks = 1 + num_bytes // knobs.config.snapshot_chunk_bytes
        snapshot_ms = num_chunks * (round_trip_ms + 2) + 2 * num_bytes * 1000 // knobs.config.snapshot_bytes_per_s
        bound_ms = self._now_ms + 20 * election_ms + 2 * round_trip_ms * (num_entries + NUM_FRESH) + 4 * snapshot_ms
        for number in range(NUM_FRESH):
            self._fresh[registers.Command(f"fresh {number}", 1, 1, registers.increment("fresh", 1)).encode()] = 0
        self.plan(0, self._propose_fresh)
        while not self._is_settled():
            for _ in range(20):
                self._step()
            assert self._now_ms <= bound_ms, f"no progress without faults: {self._describe()}"

    def _propose_fresh(self) -> None:
        """A patient client: it looks for a leader, and repeats what was not committed for some time."""
        config, leaders = self.knobs.config, self.leaders()
        for machine in leaders:
            for data, index in self._fresh.items():
                if not index:
                    self.submit(machine, Proposed(self.new_request(), data))
        if not all(self._fresh.values()):
            self.plan(2 * config.election_max_ms if leaders else config.heartbeat_ms, self._propose_fresh)

    def _is_settled(self) -> bool:
        """Whether one node leads, all members of the newest configuration follow it and have applied what is fresh."""
        leaders = self.leaders()
        if len(leaders) != 1 or not all(self._fresh.values()) or self._checks.configuration.outgoing:
            return False
        needed = max(self._fresh.values())
        configuration = self._checks.configuration
        for node_id in configuration.members:
            node = self._machines[node_id].node
            assert node is not None
            status = node.status()
            if status.leader != leaders[0].node_id or status.applied_index < needed:
                return False
        return True

    def _describe(self) -> str:
        """The cluster in one line, for a failure."""
        configuration = self._checks.configuration
        nodes = []
        for machine in self._machines.values():
            assert machine.node is not None
            status = machine.node.status()
            nodes.append(
                f"{status.node_id}:{status.role} term {status.term} leader {status.leader} "
                f"log {status.first_index}..{status.commit_index}/{status.last_index} "
                f"voters {status.configuration.voters} outgoing {status.configuration.outgoing}"
            )
        return f"voters {configuration.voters} learners {configuration.learners}; " + "; ".join(nodes)


def _failed_line(error: Exception) -> str:
    """A bare assertion of a core says no more than its own line."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.name}: {frame.line}"


def simulate(
    seed: int,
    num_events: int = 4000,
    record: Callable[[str], None] | None = None,
    min_ms: int = 0,
    num_machines: int | None = None,
) -> Outcome:
    """Play one seed: `num_events` and `min_ms` of virtual time with faults, then the calm part.

    Raises:
        Violation: a rule was broken; names seed and step.
    """
    return World(seed, record, num_machines).run(num_events, min_ms)
