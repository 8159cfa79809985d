"""A whole Raft cluster in one process: virtual time, one seeded generator, and everything that can go wrong.

The nodes are the real `RaftNode` cores. Around them stand simulated disks, a network, clients and an operator. A
machine performs a Ready in the order of the real host: persist, send, apply, then tell the core. `Knobs` draws every
choice of a run from its seed; so a seed is a run, and a failure is repeated by its seed. After the faulty part comes a
calm one, in which the cluster must elect a leader and commit fresh proposals everywhere.
"""

from __future__ import annotations

import heapq
import random
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from raftgossip.core.raft import membership
from raftgossip.core.raft.message import (
    Applied,
    Configuration,
    ConfigurationProposed,
    Entry,
    EntryKind,
    HardState,
    Message,
    Persisted,
    Proposed,
    RaftEvent,
    Ready,
    Received,
    StepDown,
    Tick,
)
from raftgossip.core.raft.node import RaftNode
from raftgossip.facts import RoleChanged
from raftgossip.ids import LogIndex, NodeId, Term
from raftgossip.sim.checks import Checks, Violation
from raftgossip.sim.knobs import Knobs
from raftgossip.sim.machine import Machine
from raftgossip.sim.network import Network, Way

NUM_FRESH = 8
"""Proposals that must commit everywhere in the calm part."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run without a violation consisted of."""

    seed: int
    num_steps: int
    num_events: int
    """Events that cores handled."""
    num_elections: int
    num_crashes: int
    num_committed: int
    num_changes: int
    """Membership changes that were committed."""
    duration_ms: int
    """Virtual time."""
    calm_ms: int
    """Virtual time that the calm part needed."""


class World:
    """One run. `run` plays it to its end."""

    def __init__(self, seed: int, record: Callable[[str], None] | None = None) -> None:
        """`record` takes one line for each thing that happens: equal seeds give equal lines."""
        self.seed = seed
        self._rng = rng = random.Random(seed)
        self.knobs = knobs = Knobs.draw(rng)
        self._record = record
        self._now_ms = 0
        self._num_steps = self._num_events = self._num_crashes = 0
        self._queue: list[tuple[int, int, Callable[..., None], tuple[object, ...]]] = []
        self._num_planned = 0
        self._num_requests = 0
        self._network = Network(knobs, rng)
        self._is_calm = False
        self._fresh: dict[bytes, int] = {}
        self._machines = {
            NodeId(place): Machine(NodeId(place), rate) for place, rate in enumerate(knobs.rates, start=1)
        }
        for machine in self._machines.values():
            self._found(machine)
        self._checks = Checks({machine.node_id: machine.disk for machine in self._machines.values()})
        for machine in self._machines.values():
            self._start(machine)
        self._plan(knobs.proposal_gap_ms, self._propose)
        self._plan(knobs.fault_gap_ms, self._fault)
        if knobs.change_gap_ms:
            self._plan(knobs.change_gap_ms, self._change)

    def _found(self, machine: Machine) -> None:
        """Write the first configuration on the disks of its voters."""
        if self.knobs.grows:
            if machine.node_id == 1:
                machine.disk.save(*membership.founding(machine.node_id))
        elif machine.node_id <= self.knobs.num_voters:
            voters = Configuration(tuple(NodeId(place) for place in range(1, self.knobs.num_voters + 1)))
            first = Entry(LogIndex(1), Term(1), EntryKind.CONFIGURATION, voters.encode())
            machine.disk.save(HardState(Term(1), None, LogIndex(1)), (first,))

    # --- the run

    def run(self, num_events: int) -> Outcome:
        """Play with faults until the cores have handled `num_events`, then the calm part.

        Raises:
            Violation: a rule was broken, or the calm cluster makes no progress; names seed and step.
        """
        try:
            while self._num_events < num_events:
                self._step()
            calm_from_ms = self._now_ms
            self._run_calm()
        except (AssertionError, RuntimeError, LookupError, ValueError) as error:
            where = f"seed {self.seed}, step {self._num_steps}, at {self._now_ms} ms"
            raise Violation(f"{where}: {str(error) or _failed_line(error)}") from error
        return Outcome(
            seed=self.seed,
            num_steps=self._num_steps,
            num_events=self._num_events,
            num_elections=self._checks.num_elections,
            num_crashes=self._num_crashes,
            num_committed=self._checks.num_committed,
            num_changes=self._checks.num_changes,
            duration_ms=self._now_ms,
            calm_ms=self._now_ms - calm_from_ms,
        )

    def _step(self) -> None:
        self._now_ms, _, action, arguments = heapq.heappop(self._queue)
        self._num_steps += 1
        action(*arguments)

    def _plan(self, delay_ms: int, action: Callable[..., None], *arguments: object) -> None:
        """Let something happen later; what falls on one moment happens in the order of planning."""
        self._num_planned += 1
        heapq.heappush(self._queue, (self._now_ms + delay_ms, self._num_planned, action, arguments))

    def _note(self, *parts: object) -> None:
        if self._record is not None:
            self._record(" ".join([str(self._now_ms), *map(str, parts)]))

    def _pick(self, span: tuple[int, int]) -> int:
        return span[0] + int(self._rng.random() * (span[1] - span[0] + 1))

    # --- machines

    def _start(self, machine: Machine) -> None:
        """Begin a life with what the disk holds."""
        machine.life += 1
        disk = machine.disk
        machine.node = RaftNode(
            machine.node_id,
            self.knobs.config,
            random.Random(self._rng.getrandbits(64)),
            hard_state=disk.hard_state,
            entries=tuple(disk.entries),
            now_ms=machine.local_ms(self._now_ms),
        )
        self._note("start", machine.node_id, disk.hard_state, len(disk.entries))
        self._checks.restarted(machine.node_id)
        self._checks.restored(machine.node.status())
        self._run_soon(machine, 0)

    def _crash(self, machine: Machine) -> None:
        """Lose everything but the disk. Of what was on the way there, a prefix arrives: whole transactions only."""
        if machine.node is None:
            return
        num_saved = self._rng.randint(0, len(machine.writing))
        for ready in list(machine.writing)[:num_saved]:
            machine.disk.save(ready.hard_state, ready.entries)
        self._note("crash", machine.node_id, num_saved, len(machine.writing))
        self._num_crashes += 1
        machine.life += 1
        machine.node, machine.has_run_planned, machine.wake_at_ms = None, False, None
        machine.mailbox.clear()
        machine.writing.clear()

    def _restart(self, machine: Machine) -> None:
        if machine.node is None:
            self._start(machine)

    def _run_soon(self, machine: Machine, delay_ms: int) -> None:
        """Have the machine look at its mailbox; what arrives until then is one batch."""
        if not machine.has_run_planned:
            machine.has_run_planned = True
            self._plan(delay_ms, self._run_mail, machine, machine.life)

    def _wake_in_time(self, machine: Machine, deadline_ms: int) -> None:
        """Have the machine look at its deadline when its clock shows `deadline_ms`; an earlier look does that too."""
        at_ms = max(self._now_ms + 1, machine.world_ms(deadline_ms))
        if machine.wake_at_ms is None or machine.wake_at_ms > at_ms:
            machine.wake_at_ms = at_ms
            self._plan(at_ms - self._now_ms, self._wake, machine, machine.life, at_ms)

    def _run_mail(self, machine: Machine, life: int) -> None:
        if life == machine.life:
            machine.has_run_planned = False
            self._run(machine)

    def _wake(self, machine: Machine, life: int, at_ms: int) -> None:
        if life == machine.life and at_ms == machine.wake_at_ms:
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
            self._note(machine.node_id, event)
        self._num_events += 1
        machine.node.handle(event, machine.local_ms(self._now_ms))
        machine.node.check_invariants()

    def _take_readys(self, machine: Machine) -> None:
        """Take what the node hands out, perform what needs no disk, and see when it must run next."""
        node, life = machine.node, machine.life
        assert node is not None
        while (ready := node.ready()) is not None:
            self._checks.handed_out(machine.node_id, ready)
            machine.writing.append(ready)
            self._note_leader(machine, ready)
            if len(machine.writing) > 1:
                continue
            if ready.hard_state is not None or ready.entries:
                self._plan(self._fsync_delay_ms(), self._synced, machine, life)
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
            return self.knobs.config.election_max_ms
        return self._pick(self.knobs.fsync_ms)

    def _synced(self, machine: Machine, life: int) -> None:
        """The oldest Ready is on disk; those behind it that need no disk follow at once."""
        if life != machine.life:
            return
        ready = machine.writing.popleft()
        machine.disk.save(ready.hard_state, ready.entries)
        self._perform(machine, ready)
        while machine.writing:
            ready = machine.writing[0]
            if ready.hard_state is not None or ready.entries:
                self._plan(self._fsync_delay_ms(), self._synced, machine, life)
                break
            self._perform(machine, machine.writing.popleft())
        self._take_readys(machine)

    def _perform(self, machine: Machine, ready: Ready) -> None:
        """What comes after persisting, in the host's order: send, apply, tell the core."""
        for message in ready.messages:
            self._send(message)
        for entry in ready.committed:
            self._checks.applied(machine.node_id, entry)
            if entry.data in self._fresh:
                self._fresh[entry.data] = entry.index
        if ready.entries:
            self._handle(machine, Persisted(ready.entries[-1].index))
        if ready.committed:
            self._handle(machine, Applied(ready.committed[-1].index))

    # --- network

    def _send(self, message: Message) -> None:
        self._checks.sent(message)
        for delay_ms in self._network.delays_ms(message.sender, message.receiver):
            self._plan(delay_ms, self._deliver, message)

    def _deliver(self, message: Message) -> None:
        machine = self._machines.get(message.receiver)
        if machine is None or machine.node is None or self._network.is_cut(message.sender, message.receiver):
            return
        machine.mailbox.append(Received(message))
        self._run_soon(machine, 0 if self.knobs.max_batch == 1 else 1)

    def _cut(self, pairs: Sequence[Way]) -> None:
        """Block these ways for a while."""
        self._note("cut", *pairs)
        self._network.cut(pairs)
        self._plan(self._pick((1, self.knobs.outage_ms)), self._network.heal, pairs)

    # --- faults

    def _leaders(self) -> list[Machine]:
        """Machines whose node thinks that it leads."""
        return [
            machine for machine in self._machines.values() if machine.node and machine.node.status().role == "leader"
        ]

    def _victim(self) -> Machine:
        """A leader half of the time, if there is one; else any machine."""
        leaders = self._leaders() if self._rng.random() < 0.5 else []
        return self._rng.choice(leaders or list(self._machines.values()))

    def _fault(self) -> None:
        if self._is_calm:
            return
        faults = (self._fail, self._cut_off, self._split, self._deafen, self._cut_one_way, self._step_down)
        self._rng.choices(faults, self.knobs.fault_weights)[0](self._victim())
        self._plan(self._pick((1, 2 * self.knobs.fault_gap_ms)), self._fault)

    def _fail(self, machine: Machine) -> None:
        """Crash; restart at once, soon or late."""
        self._crash(machine)
        outage_ms = self._rng.choice((0, self.knobs.config.heartbeat_ms, self.knobs.outage_ms))
        self._plan(self._pick((0, outage_ms)), self._restart, machine)

    def _cut_off(self, machine: Machine) -> None:
        """Leave the machine alone."""
        self._cut([way for way in self._ways() if machine.node_id in way])

    def _split(self, machine: Machine) -> None:
        """Leave the machine with a random part of the others; often a minority."""
        inside = [node_id for node_id in self._machines if node_id == machine.node_id or self._rng.random() < 0.4]
        self._cut([way for way in self._ways() if (way[0] in inside) != (way[1] in inside)])

    def _deafen(self, machine: Machine) -> None:
        """The machine speaks but hears nothing, or the other way round."""
        blocked = self._rng.randint(0, 1)
        self._cut([way for way in self._ways() if way[blocked] == machine.node_id])

    def _cut_one_way(self, machine: Machine) -> None:
        """One way from the machine is blocked."""
        self._cut([self._rng.choice([way for way in self._ways() if way[0] == machine.node_id])])

    def _ways(self) -> list[Way]:
        return [(sender, receiver) for sender in self._machines for receiver in self._machines if sender != receiver]

    def _step_down(self, machine: Machine) -> None:
        """Ask for a hand-over."""
        self._submit(machine, StepDown())

    def _note_leader(self, machine: Machine, ready: Ready) -> None:
        """Aim at fresh leaders: what an election left half done is where faults of Raft show."""
        is_elected = any(isinstance(fact, RoleChanged) and fact.role == "leader" for fact in ready.facts)
        if is_elected and self._rng.random() < self.knobs.nemesis:
            fault = self._rng.choice(
                (self._fail, self._fail, self._cut_off, self._split, self._deafen, self._step_down)
            )
            self._plan(self._pick((0, self.knobs.nemesis_ms)), self._hit, fault, machine)

    def _hit(self, fault: Callable[[Machine], None], machine: Machine) -> None:
        if not self._is_calm:
            fault(machine)

    # --- clients and the operator

    def _submit(self, machine: Machine, event: RaftEvent) -> None:
        if machine.node is not None:
            machine.mailbox.append(event)
            self._run_soon(machine, 0)

    def _propose(self) -> None:
        """A client asks a leader, or anybody."""
        if self._is_calm:
            return
        machine = self._victim()
        for _ in range(self._rng.choice((1, 1, 2, 8))):
            self._num_requests += 1
            self._submit(machine, Proposed(self._num_requests, b"command %d" % self._num_requests))
        self._plan(self._pick((1, 2 * self.knobs.proposal_gap_ms)), self._propose)

    def _change(self) -> None:
        """The operator changes the membership, without looking whether it is wise."""
        if self._is_calm:
            return
        for machine in self._leaders():
            assert machine.node is not None
            for _ in range(self._rng.choice((1, 2, 3))):
                self._num_requests += 1
                wanted = self._next_configuration(machine.node.status().configuration)
                self._submit(machine, ConfigurationProposed(self._num_requests, wanted))
        self._plan(self._pick((1, 2 * self.knobs.change_gap_ms)), self._change)

    def _next_configuration(self, current: Configuration) -> Configuration:
        """One node moves on: outside -> learner -> voter, or back; small clusters rather grow."""
        node_id = self._rng.choice(list(self._machines))
        voters, learners = list(current.voters), list(current.learners)
        if node_id in learners:
            learners.remove(node_id)
            if self._rng.random() < 0.8:
                voters.append(node_id)
        elif node_id not in voters:
            learners.append(node_id)
        elif len(voters) > 2 and self._rng.random() < (0.6 if len(voters) > 3 else 0.3):
            voters.remove(node_id)
            if self._rng.random() < 0.5:
                learners.append(node_id)
        return Configuration(tuple(sorted(voters)), tuple(sorted(learners)))

    # --- the calm part

    def _run_calm(self) -> None:
        """End all faults; within a bound one leader must lead all members, and fresh proposals reach every member.

        The bound is twenty long election timeouts of the slowest clock, and for those who lag two round trips with
        their fsyncs per entry, since a run may allow one entry a message and one message on the way.
        """
        self._is_calm = True
        self._network.calm_down()
        self._note("calm")
        for machine in self._machines.values():
            self._restart(machine)
        knobs = self.knobs
        election_ms = knobs.config.election_max_ms * 1000 // min(knobs.rates)
        round_trip_ms = 2 * (knobs.delay_ms[1] + knobs.fsync_ms[1] + 2)
        num_entries = max(len(machine.disk.entries) for machine in self._machines.values())
        bound_ms = self._now_ms + 20 * election_ms + 2 * round_trip_ms * (num_entries + NUM_FRESH)
        self._fresh = {b"fresh %d" % number: 0 for number in range(NUM_FRESH)}
        self._plan(0, self._propose_fresh)
        while not self._is_settled():
            for _ in range(20):
                self._step()
            assert self._now_ms <= bound_ms, f"no progress without faults: {self._describe()}"

    def _propose_fresh(self) -> None:
        """A patient client: it looks for a leader, and repeats what was not committed for some time."""
        config, leaders = self.knobs.config, self._leaders()
        for machine in leaders:
            for data, index in self._fresh.items():
                if not index:
                    self._num_requests += 1
                    self._submit(machine, Proposed(self._num_requests, data))
        if not all(self._fresh.values()):
            self._plan(2 * config.election_max_ms if leaders else config.heartbeat_ms, self._propose_fresh)

    def _is_settled(self) -> bool:
        """Whether one node leads, all members of the newest configuration follow it and have applied what is fresh."""
        leaders = self._leaders()
        if len(leaders) != 1 or not all(self._fresh.values()):
            return False
        needed = max(self._fresh.values())
        configuration = self._checks.configuration
        for node_id in configuration.voters + configuration.learners:
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
                f"log {status.commit_index}/{status.last_index} voters {status.configuration.voters}"
            )
        return f"voters {configuration.voters} learners {configuration.learners}; " + "; ".join(nodes)


def _failed_line(error: Exception) -> str:
    """A bare assertion of a core says no more than its own line."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.name}: {frame.line}"


def simulate(seed: int, num_events: int = 3000, record: Callable[[str], None] | None = None) -> Outcome:
    """Play one seed: `num_events` with faults, then the calm part.

    Raises:
        Violation: a rule was broken; names seed and step.
    """
    return World(seed, record).run(num_events)
