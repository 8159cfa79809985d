"""Who changes the membership of a simulated cluster, without looking whether it is wise."""

from __future__ import annotations

import random
from collections.abc import Sequence

from raftgossip.core.raft.message import Configuration, ConfigurationProposed
from raftgossip.sim.knobs import Knobs
from raftgossip.sim.machine import Machine
from raftgossip.sim.surroundings import Surroundings


class Administrator:
    """Asks leaders for other configurations, often before the last change is through."""

    def __init__(self, world: Surroundings, machines: Sequence[Machine], knobs: Knobs, rng: random.Random) -> None:
        self._world = world
        self._nodes = [machine.node_id for machine in machines]
        self._gap_ms = knobs.change_gap_ms
        self._rng = rng
        self.is_calm = False
        if self._gap_ms:
            world.plan(self._gap_ms, self._change)

    def _change(self) -> None:
        if self.is_calm:
            return
        for machine in self._world.leaders():
            assert machine.node is not None
            for _ in range(self._rng.choice((1, 2, 3))):
                current = machine.node.status().configuration
                wanted = self._other_voters() if self._rng.random() < 0.3 else self._next_configuration(current)
                self._world.submit(machine, ConfigurationProposed(self._world.new_request(), wanted))
        self._world.plan(1 + self._rng.randrange(2 * self._gap_ms), self._change)

    def _other_voters(self) -> Configuration:
        """Any two or more machines vote from now on, most of the others learn: usually a joint change."""
        nodes = list(self._nodes)
        self._rng.shuffle(nodes)
        num_voters = self._rng.randint(2, len(nodes))
        learners = [node_id for node_id in nodes[num_voters:] if self._rng.random() < 0.7]
        return Configuration(tuple(sorted(nodes[:num_voters])), tuple(sorted(learners)))

    def _next_configuration(self, current: Configuration) -> Configuration:
        """One node moves on: outside -> learner -> voter, or back; small clusters rather grow."""
        node_id = self._rng.choice(self._nodes)
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
