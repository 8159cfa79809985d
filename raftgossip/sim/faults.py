"""What goes wrong in a simulated cluster, by chance and on purpose: whom it hits, how, and for how long."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from raftgossip.core.raft.message import TransferRequested
from raftgossip.sim.knobs import Knobs
from raftgossip.sim.machine import Machine
from raftgossip.sim.network import Network, Way
from raftgossip.sim.surroundings import Surroundings


class Faults:
    """All faults of one run. They end when the calm part begins."""

    def __init__(
        self, world: Surroundings, machines: Sequence[Machine], network: Network, knobs: Knobs, rng: random.Random
    ) -> None:
        self._world = world
        self._machines = machines
        self._network = network
        self._knobs = knobs
        self._rng = rng
        self._kinds = (
            self._fail,
            self._cut_off,
            self._split,
            self._deafen,
            self._cut_one_way,
            self._transfer,
            self._fill_disk,
            self._pause,
            self._transfer_to_anybody,
        )
        self.is_calm = False
        world.plan(knobs.fault_gap_ms, self._strike)

    def victim(self) -> Machine:
        """A leader half of the time, if there is one; else any machine."""
        leaders = self._world.leaders() if self._rng.random() < 0.5 else []
        return self._rng.choice(leaders or self._machines)

    def _strike(self) -> None:
        if self.is_calm:
            return
        self._rng.choices(self._kinds, self._knobs.fault_weights)[0](self.victim())
        self._world.plan(self._pick((1, 2 * self._knobs.fault_gap_ms)), self._strike)

    def note_leader(self, machine: Machine) -> None:
        """Aim at fresh leaders: what an election left half done is where faults of Raft show."""
        if self._rng.random() < self._knobs.nemesis:
            kinds = (self._fail, self._fail, self._cut_off, self._split, self._deafen, self._transfer, self._pause)
            fault = self._rng.choice(kinds)
            self._world.plan(self._pick((0, self._knobs.nemesis_ms)), self._hit, fault, machine)

    def _hit(self, fault: Callable[[Machine], None], machine: Machine) -> None:
        if not self.is_calm:
            fault(machine)

    def _pick(self, span: tuple[int, int]) -> int:
        return span[0] + int(self._rng.random() * (span[1] - span[0] + 1))

    # --- machines

    def _fail(self, machine: Machine) -> None:
        """Crash; restart at once, soon or late."""
        self._world.crash(machine)
        outage_ms = self._rng.choice((0, self._knobs.config.heartbeat_ms, self._knobs.outage_ms))
        self._world.plan(self._pick((0, outage_ms)), self._world.restart, machine)

    def _fill_disk(self, machine: Machine) -> None:
        """No room on the disk: the next write fails and stops the machine; it starts again when there is room."""
        machine.is_full = True
        self._world.note("full", machine.node_id)
        self._world.plan(self._pick((1, self._knobs.outage_ms)), self._make_room, machine)

    def _make_room(self, machine: Machine) -> None:
        machine.is_full = False
        self._world.restart(machine)

    def _pause(self, machine: Machine) -> None:
        """Nothing runs there for a while, and afterwards the machine does not know it: a stopped process."""
        machine.paused_until_ms = self._world.now_ms + self._pick((1, self._knobs.outage_ms))
        self._world.note("pause", machine.node_id, machine.paused_until_ms)

    # --- the network

    def _cut(self, pairs: Sequence[Way]) -> None:
        """Block these ways for a while."""
        self._world.note("cut", *pairs)
        self._network.cut(pairs)
        self._world.plan(self._pick((1, self._knobs.outage_ms)), self._network.heal, pairs)

    def _cut_off(self, machine: Machine) -> None:
        """Leave the machine alone."""
        self._cut([way for way in self._ways() if machine.node_id in way])

    def _split(self, machine: Machine) -> None:
        """Leave the machine with a random part of the others; often a minority."""
        nodes = [each.node_id for each in self._machines]
        inside = [node_id for node_id in nodes if node_id == machine.node_id or self._rng.random() < 0.4]
        self._cut([way for way in self._ways() if (way[0] in inside) != (way[1] in inside)])

    def _deafen(self, machine: Machine) -> None:
        """The machine speaks but hears nothing, or the other way round."""
        blocked = self._rng.randint(0, 1)
        self._cut([way for way in self._ways() if way[blocked] == machine.node_id])

    def _cut_one_way(self, machine: Machine) -> None:
        """One way from the machine is blocked."""
        self._cut([self._rng.choice([way for way in self._ways() if way[0] == machine.node_id])])

    def _ways(self) -> list[Way]:
        nodes = [each.node_id for each in self._machines]
        return [(sender, receiver) for sender in nodes for receiver in nodes if sender != receiver]

    # --- handing over

    def _transfer(self, machine: Machine) -> None:
        """Ask for a hand-over to whoever is best."""
        self._world.submit(machine, TransferRequested(self._world.new_request()))

    def _transfer_to_anybody(self, machine: Machine) -> None:
        """Ask for a hand-over to a node that may be anything."""
        target = self._rng.choice(self._machines).node_id
        self._world.submit(machine, TransferRequested(self._world.new_request(), target))
