"""Which node may found the cluster: at most one, and none once a cluster is known of.

Everything that could lead to a second cluster is remembered: cluster ids that members told, that a leader was ever
reported, and which node was named. `num_facts` counts them; a fact must be on disk before an answer is built on it.

A gateway that has just started without any memory cannot know whether there is a cluster. Members come back within
seconds, so it waits (`grace_until_ms`) before it names a node, if that node can wait: the original clients ask once,
and get the answer that they always got. With several gateways only one may name (`may_name`, decided by the registry).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.registry_values import Memory, Registration
from raftgossip.ids import NodeId

MAX_CLUSTER_IDS = 64
"""Cluster ids that are kept; one is enough to know that nobody founds."""
ASK_AGAIN_MS = 1_000
"""What a node is told to wait while other gateways have not answered, or have to decide."""


@dataclass(slots=True)
class FoundingMemory:
    """What speaks for and against founding.

    Invariants: no node is named once a cluster is known; `num_facts` rises with every fact.
    """

    grace_until_ms: int
    absent_until_ms: int = 0
    """A named node that was not registered when the gateway started is waited for until then."""
    cluster_ids: dict[str, None] = field(default_factory=dict, init=False)
    """In the order in which they were heard of."""
    leader_was_reported: bool = field(default=False, init=False)
    bootstrap: NodeId | None = field(default=None, init=False)
    principal: str = field(default="", init=False)
    """Who was named under that id."""
    num_facts: int = field(default=0, init=False)

    def remember(self, memory: Memory) -> None:
        """Take up what a gateway knew before it stopped."""
        self.cluster_ids = dict.fromkeys(memory.cluster_ids)
        self.leader_was_reported = memory.leader_was_reported
        if not self.knows_cluster:
            self.bootstrap, self.principal = memory.bootstrap, memory.bootstrap_principal

    @property
    def knows_cluster(self) -> bool:
        """Whether there is, or ever was, a cluster."""
        return bool(self.cluster_ids) or self.leader_was_reported

    def note_cluster(self, cluster_id: str) -> None:
        """A member or another gateway told a cluster id; empty: nothing was told."""
        if not cluster_id or cluster_id in self.cluster_ids or len(self.cluster_ids) >= MAX_CLUSTER_IDS:
            return
        self.cluster_ids[cluster_id] = None
        self.num_facts += 1
        self._forget_bootstrap()

    def note_leader(self) -> None:
        """Somebody was reported to lead, so there is a cluster, whoever leaves later."""
        if not self.leader_was_reported:
            self.leader_was_reported = True
            self.num_facts += 1
        self._forget_bootstrap()

    def note_named(self, node_id: NodeId, principal: str) -> None:
        """A node was named, here or by another gateway."""
        assert not self.knows_cluster and self.bootstrap is None
        self.bootstrap, self.principal = node_id, principal
        self.num_facts += 1

    def note_gone(self, node_id: NodeId) -> None:
        """A node left or fell silent: if it was named, another one may be."""
        if self.bootstrap == node_id:
            self._forget_bootstrap()

    def decide(self, asker: Registration, is_alone: bool, may_name: bool, now_ms: int) -> tuple[bool, int]:
        """Whether a node that has just registered may found, and after how many ms it should ask again (0: no need).

        The named node may ask again, e.g. because the answer was lost, while nobody else is there. If others are, they
        may have joined what it founded before it lost its state; only a node that still has the secret by which it was
        named, and that tells of its cluster once it has one, is known not to have lost anything.
        """
        if self.knows_cluster:
            return False, 0
        if self.bootstrap is not None:
            if self.bootstrap != asker.node_id:
                return False, 0
            proves_itself = bool(asker.owner or asker.identity) and asker.principal == self.principal
            return is_alone or (asker.can_wait and proves_itself), 0
        if not may_name:
            return False, ASK_AGAIN_MS if asker.can_wait else 0
        if asker.can_wait and now_ms < self.grace_until_ms:
            return False, self.grace_until_ms - now_ms
        self.note_named(asker.node_id, asker.principal)
        return True, 0

    def check_invariants(self) -> None:
        """Assert what the class promises."""
        assert self.bootstrap is None or not self.knows_cluster
        assert len(self.cluster_ids) <= MAX_CLUSTER_IDS

    def _forget_bootstrap(self) -> None:
        self.bootstrap, self.principal = None, ""
