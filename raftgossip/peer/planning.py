"""What the founder proposes, and the plan that every peer derives from it."""

from __future__ import annotations

from raftgossip.core.epoch.config import RunSpec
from raftgossip.ids import Epoch, NodeId
from raftgossip.learning.algorithm import make_algorithm
from raftgossip.peer.config import PeerConfig
from raftgossip.topology.plan import EpochPlan
from raftgossip.topology.schedule import check_topology, make_plan
from raftgossip.update import ParameterSchema


def epoch_plan(spec: RunSpec, participants: tuple[NodeId, ...], epoch: int) -> EpochPlan:
    """The exchange of one attempt: a pure function of what stands in the ledger."""
    return make_plan(
        spec.topology,
        participants,
        epoch,
        spec.seed,
        spec.num_elements,
        require_exact=make_algorithm(spec.algorithm).needs_exact,
    )


def plan_epoch(spec: RunSpec, participants: tuple[NodeId, ...], epoch: Epoch, attempt: int) -> tuple[bytes, bool]:
    """The coordinator's view of a plan: its digest, and whether it is exact. Attempts differ by their participants."""
    del attempt
    plan = epoch_plan(spec, participants, epoch)
    return plan.digest, plan.exact


def check_names(config: PeerConfig) -> None:
    """Whether a run with these settings could be founded; asked of joiners too, who may have to found one day.

    Raises:
        ConfigError: the algorithm or the topology is unknown, or they do not go together.
    """
    check_topology(config.topology, require_exact=make_algorithm(config.algorithm).needs_exact)


def run_specification(config: PeerConfig, schema: ParameterSchema) -> RunSpec:
    """The run that a founder starts from its own settings.

    Raises:
        ConfigError: a setting is unknown or out of range.
    """
    check_names(config)
    return RunSpec(
        task=config.task,
        algorithm=config.algorithm,
        topology=config.topology,
        num_epochs=config.num_epochs,
        min_participants=config.min_participants,
        seed=config.seed,
        local_passes=config.local_passes,
        train_deadline_ms=config.train_deadline_ms,
        exchange_deadline_ms=config.exchange_deadline_ms,
        min_epoch_ms=config.min_epoch_ms,
        max_attempts=config.max_attempts,
        schema_digest=schema.digest,
        num_elements=schema.num_elements,
        requires_token=config.require_token,
    )
