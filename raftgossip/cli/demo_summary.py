"""What the demo saw, whether that is what was promised, and the document that says so. Values only."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raftgossip.runtime.grpc_documents import EpochDocument
from raftgossip.update import FloatVector

MAX_DIFFERENCE = 1e-5
"""Between two peers' final models, relative to the largest element. float32 rounds at 6e-8, averaging a little more."""
CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class SeenEpoch:
    """One ended epoch, in the ledger's words."""

    epoch: int
    attempt: int
    outcome: str
    leader: int
    participants: tuple[int, ...]
    """Whose vectors are in the average; nobody's, if it failed."""
    closed_at_s: float
    """Seconds from the start of the demo."""
    accuracy: float | None
    loss: float | None
    model_digest: str
    digests: tuple[str, ...]
    """Of the participants' models, which may differ in the last bits."""
    bytes_sent: int
    reason: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something that the demo did, or was waiting for."""

    kind: str
    """`kill`, `restart` or `back`."""
    what: str
    """`leader`, `gateway` or `peer`."""
    node: int | None
    at_s: float


@dataclass(frozen=True, slots=True)
class Witnessed:
    """Who has proved who he is, and who refuses those that do not."""

    federation: str
    identities: Mapping[int, str]
    """The SPIFFE name in the certificate that each peer showed the gateway; empty: it showed none."""
    refusing: tuple[str, ...]
    """The gateway and the peers that gave no answer to a caller without a certificate, in words."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that is known at the end. Accuracies are on the held-out data, from 0 to 1."""

    num_epochs: int
    target: float
    epochs: tuple[SeenEpoch, ...]
    events: tuple[Event, ...]
    ledgers: Mapping[int, tuple[tuple[int, str], ...]]
    """Per peer, of all ended epochs in its ledger: number and model digest."""
    models: Mapping[int, FloatVector]
    """Per peer, the final model it holds, (P,) float32; those that hold none are missing."""
    num_peers: int
    accuracy_shared: float
    accuracy_alone: Mapping[int, float]
    accuracy_pooled: float
    tls: bool = False
    """Whether everybody was to speak TLS."""
    witnessed: Witnessed | None = None
    """None: nobody could be asked, or there was no TLS."""

    @property
    def accuracy_alone_mean(self) -> float:
        """Of the peers that trained alone."""
        return sum(self.accuracy_alone.values()) / len(self.accuracy_alone)


def seen_epoch(document: EpochDocument, started_ms: int) -> SeenEpoch:
    """An entry of a ledger, on the demo's time line. `started_ms`: wall clock."""
    return SeenEpoch(
        epoch=document["epoch"],
        attempt=document["attempt"],
        outcome=document["outcome"],
        leader=document["leader"],
        participants=tuple(document["contributors"]),
        closed_at_s=round((document["closed_at_ms"] - started_ms) / 1000, 3),
        accuracy=document["metrics"].get("accuracy"),
        loss=document["metrics"].get("loss"),
        model_digest=document["model_digest"] or "",
        digests=tuple(sorted(set(document["digests"].values()))),
        bytes_sent=document["bytes_sent"],
        reason=document["reason"],
    )


def problems(outcome: Outcome) -> list[str]:
    """What was promised and did not happen, a sentence each; empty: all is good."""
    found = [*_ledger_problems(outcome), *_model_problems(outcome), *_tls_problems(outcome)]
    if outcome.accuracy_shared < outcome.target:
        found.append(
            f"the shared model's accuracy {outcome.accuracy_shared:.3f} is below the target {outcome.target:.2f} "
            f"after {outcome.num_epochs} epochs; more --epochs may help"
        )
    returned = {event.node for event in outcome.events if event.kind == "back"}
    for event in outcome.events:
        if event.kind == "kill" and event.node is not None and event.node not in returned:
            found.append(f"node {event.node}, killed at {event.at_s:.1f} s, did not catch up")
    return found


def stall_s(epochs: Sequence[SeenEpoch], since_s: float = 0.0) -> float:
    """The longest time between two closed epochs, of which the second closed after `since_s`; 0 if there are none."""
    times = [each.closed_at_s for each in epochs if each.outcome == CLOSED]
    gaps = [after - before for before, after in itertools.pairwise(times) if after > since_s]
    return round(max(gaps, default=0.0), 3)


def largest_difference(models: Sequence[FloatVector]) -> float:
    """max |a - b| / max |a| over all pairs; 0 for fewer than two models. `models`: (P,) float32 each."""
    return max((_difference(a, b) for a, b in itertools.permutations(models, 2)), default=0.0)


def position(epochs: Sequence[SeenEpoch], at_s: float) -> float:
    """When that was, counted in epochs: 2.5 is half-way between the end of epoch 2 and that of epoch 3."""
    times = [0.0, *(each.closed_at_s for each in epochs)]
    return float(np.interp(at_s, times, range(len(times))))


def document(outcome: Outcome, more: Mapping[str, object]) -> dict[str, object]:
    """What `raftgossip-demo.json` holds; `more`: further entries."""
    leader_killed = next((each.at_s for each in outcome.events if (each.kind, each.what) == ("kill", "leader")), 0.0)
    found = problems(outcome)
    whole = len(outcome.models) == outcome.num_peers
    return {
        "accuracy_shared": outcome.accuracy_shared,
        "accuracy_alone_mean": outcome.accuracy_alone_mean,
        "accuracy_pooled": outcome.accuracy_pooled,
        "target": outcome.target,
        "epochs": [_epoch_entry(each) for each in outcome.epochs],
        "kills": [_event_entry(each) for each in outcome.events if each.kind == "kill"],
        "stall_s": stall_s(outcome.epochs, leader_killed),
        "models_max_rel_diff": largest_difference(list(outcome.models.values())) if whole else None,
        "good": not found,
        "problems": found,
        "restarts": [_event_entry(each) for each in outcome.events if each.kind == "restart"],
        "caught_up": [_event_entry(each) for each in outcome.events if each.kind == "back"],
        "accuracy_alone": {str(node): accuracy for node, accuracy in sorted(outcome.accuracy_alone.items())},
        "tls": _tls_entry(outcome.witnessed),
        **more,
    }


def _ledger_problems(outcome: Outcome) -> list[str]:
    """Closed epochs that are missing, repeated, or not the same everywhere."""
    found = []
    numbers = [each.epoch for each in outcome.epochs]
    missing = sorted(set(range(1, max(numbers, default=0) + 1)) - set(numbers))
    repeated = sorted({number for number in numbers if numbers.count(number) > 1})
    if missing:
        found.append(f"epochs are missing: {_listed(missing)}")
    if repeated:
        found.append(f"epochs are repeated: {_listed(repeated)}")
    num_closed = sum(each.outcome == CLOSED for each in outcome.epochs)
    if num_closed != outcome.num_epochs:
        found.append(f"{num_closed} epochs closed instead of {outcome.num_epochs}")
    seen = tuple((each.epoch, each.model_digest) for each in outcome.epochs)
    for node, ledger in sorted(outcome.ledgers.items()):
        if ledger != seen:
            found.append(f"the ledger of node {node} ({len(ledger)} epochs) differs from what was seen ({len(seen)})")
    silent = sorted(set(outcome.accuracy_alone) - set(outcome.ledgers))
    if silent:
        found.append(f"no answer about the ledger from node {_listed(silent)}")
    return found


def _model_problems(outcome: Outcome) -> list[str]:
    missing = outcome.num_peers - len(outcome.models)
    if missing:
        return [f"{missing} of {outcome.num_peers} peers do not hold the final model"]
    difference = largest_difference(list(outcome.models.values()))
    if not difference <= MAX_DIFFERENCE:  # also if it is not a number
        return [f"the peers' final models differ by {difference:.1e}, more than {MAX_DIFFERENCE:.0e}"]
    return []


def _tls_problems(outcome: Outcome) -> list[str]:
    if not outcome.tls:
        return []
    seen = outcome.witnessed
    if seen is None:
        return ["nobody could be asked who was authenticated"]
    nameless = [node for node, identity in sorted(seen.identities.items()) if not identity]
    everybody = ["the gateway", *(f"node {node}" for node in sorted(seen.identities))]
    return [
        *(f"node {node} was registered without a certificate" for node in nameless),
        *(f"{who} answered a caller without a certificate" for who in everybody if who not in seen.refusing),
    ]


def _tls_entry(seen: Witnessed | None) -> dict[str, object] | None:
    if seen is None:
        return None
    identities = {str(node): identity for node, identity in seen.identities.items()}
    return {"federation": seen.federation, "authenticated": identities, "refusing_strangers": list(seen.refusing)}


def _difference(a: FloatVector, b: FloatVector) -> float:
    scale = float(np.abs(a).max())
    gap = float(np.abs(a.astype(np.float64) - b).max())
    return gap / scale if scale else gap


def _epoch_entry(seen: SeenEpoch) -> dict[str, object]:
    return {
        "epoch": seen.epoch,
        "attempt": seen.attempt,
        "leader": seen.leader,
        "participants": list(seen.participants),
        "closed_at_s": seen.closed_at_s,
        "accuracy": seen.accuracy,
        "model_digest": seen.model_digest,
        "loss": seen.loss,
        "outcome": seen.outcome,
        "bytes_sent": seen.bytes_sent,
    }


def _event_entry(event: Event) -> dict[str, object]:
    entry: dict[str, object] = {"what": event.what, "at_s": event.at_s}
    return entry if event.node is None else {**entry, "node": event.node}


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers)
