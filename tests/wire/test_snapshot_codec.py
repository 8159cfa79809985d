"""A captured replica comes back equal, has the same bytes everywhere, and is refused when it contradicts itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings

from raftgossip.core.epoch.command import EpochRecord
from raftgossip.core.epoch.ledger import LedgerState
from raftgossip.core.replica import ReplicaState
from raftgossip.errors import WireError
from raftgossip.ids import Epoch
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.snapshot_codec import record_to_part, snapshot_from_bytes, snapshot_to_bytes
from tests.support.wire_values import records, replica_states
from tests.wire.golden_snapshots import STATES

STATE = STATES["ledger"]


@settings(deadline=None)
@given(replica_states())
def test_a_state_comes_back_equal_and_so_do_its_bytes(state: ReplicaState) -> None:
    data = snapshot_to_bytes(state)

    assert snapshot_from_bytes(data) == state
    assert snapshot_to_bytes(snapshot_from_bytes(data)) == data


def with_records(*ended: EpochRecord) -> ReplicaState:
    """A state in which these epochs ended."""
    return ReplicaState(LedgerState(records=ended), ())


@given(records)
def test_an_ended_epoch_comes_back_equal(record: EpochRecord) -> None:
    state = with_records(replace(record, epoch=Epoch(1)))

    assert snapshot_from_bytes(snapshot_to_bytes(state)) == state


def test_digests_that_are_all_the_model_s_take_no_room() -> None:
    agreed, differing, failed = STATE.ledger.records
    without = replace(agreed, contributors=(), digests=())

    assert len(record_to_part(agreed)) - len(record_to_part(without)) < 10
    assert len(record_to_part(differing)) > len(record_to_part(replace(differing, digests=()))) + 64
    assert len(record_to_part(failed)) < 50


@pytest.mark.parametrize("num_known", range(5))
def test_records_that_were_encoded_before_give_the_same_bytes(num_known: int) -> None:
    ended = [*STATE.ledger.records, replace(STATE.ledger.records[0], epoch=4)]  # the last one ended after the capture
    known = [record_to_part(record) for record in ended[:num_known]]

    assert snapshot_to_bytes(STATE, known) == snapshot_to_bytes(STATE)


def test_only_a_state_with_something_new_has_a_new_version() -> None:
    # So nodes of both versions understand each other until somebody enters with a token.
    assert pb.LedgerSnapshot.FromString(snapshot_to_bytes(STATE)).version == 1
    with_token = replace(STATE, ledger=replace(STATE.ledger, used_tokens=(("a", 5),)))
    assert pb.LedgerSnapshot.FromString(snapshot_to_bytes(with_token)).version == 2


PROGRAM = """
from raftgossip.wire.snapshot_codec import snapshot_to_bytes
from tests.support.replica_histories import history
from raftgossip.core.replica import Replica
replica = Replica()
for index, envelope in history(seed=3):
    replica.apply(index, envelope)
print(snapshot_to_bytes(replica.capture()).hex())
"""


def test_a_state_has_the_same_bytes_under_every_hash_seed() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={"PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            check=True,
            capture_output=True,
            timeout=60,
        ).stdout
        for seed in ("0", "1", "4242")
    }

    assert len(outputs) == 1 and len(outputs.pop()) > 1000


def session(client: str = "c", floor: int = 1, *sequences: int) -> pb.ClientSession:
    answers = [pb.RememberedAnswer(sequence=sequence) for sequence in sequences]
    return pb.ClientSession(client=client, floor=floor, answers=answers)


def set_version(encoded: pb.LedgerSnapshot) -> None:
    encoded.version = 3


def token_in_version_1(encoded: pb.LedgerSnapshot) -> None:
    encoded.used_tokens.add(token_id="a", expires_s=1)


def requirement_in_version_1(encoded: pb.LedgerSnapshot) -> None:
    encoded.specification.requires_token = True


def use_tokens(encoded: pb.LedgerSnapshot, *token_ids: str) -> None:
    encoded.version = 2
    encoded.used_tokens.extend([pb.UsedToken(token_id=token_id, expires_s=1) for token_id in token_ids])


def repeat_token(encoded: pb.LedgerSnapshot) -> None:
    use_tokens(encoded, "a", "a")


def nameless_token(encoded: pb.LedgerSnapshot) -> None:
    use_tokens(encoded, "")


def too_many_tokens(encoded: pb.LedgerSnapshot) -> None:
    use_tokens(encoded, *map(str, range(10_001)))


def drop_first_record(encoded: pb.LedgerSnapshot) -> None:
    del encoded.records[0]


def drop_last_record(encoded: pb.LedgerSnapshot) -> None:
    del encoded.records[-1]


def spoil_record(encoded: pb.LedgerSnapshot) -> None:
    encoded.records[0] = b"\xff"


def drop_specification(encoded: pb.LedgerSnapshot) -> None:
    encoded.ClearField("specification")


def spoil_specification(encoded: pb.LedgerSnapshot) -> None:
    encoded.specification.max_attempts = 0


def reverse_roster(encoded: pb.LedgerSnapshot) -> None:
    encoded.roster.reverse()


def repeat_roster(encoded: pb.LedgerSnapshot) -> None:
    encoded.roster.append(encoded.roster[-1])


def zero_roster(encoded: pb.LedgerSnapshot) -> None:
    encoded.roster[0].node_id = 0


def spoil_port(encoded: pb.LedgerSnapshot) -> None:
    encoded.roster[0].port = 0


def repeat_departed(encoded: pb.LedgerSnapshot) -> None:
    encoded.departed.append(encoded.departed[0])


def zero_departed(encoded: pb.LedgerSnapshot) -> None:
    encoded.departed[0].node_id = 0


def depart_one_of_the_roster(encoded: pb.LedgerSnapshot) -> None:
    encoded.departed.add(node_id=4)


def repeat_client(encoded: pb.LedgerSnapshot) -> None:
    encoded.sessions.extend([session(), session()])


def nameless_client(encoded: pb.LedgerSnapshot) -> None:
    encoded.sessions.append(session(""))


def no_floor(encoded: pb.LedgerSnapshot) -> None:
    encoded.sessions.append(session("c", 0))


def answer_below_floor(encoded: pb.LedgerSnapshot) -> None:
    encoded.sessions.append(session("c", 5, 6, 4))


def repeat_answer(encoded: pb.LedgerSnapshot) -> None:
    encoded.sessions.append(session("c", 1, 6, 6))


def too_many_answers(encoded: pb.LedgerSnapshot) -> None:
    encoded.sessions.append(session("c", 1, *range(1, 1026)))


def too_many_clients(encoded: pb.LedgerSnapshot) -> None:
    encoded.sessions.extend([session(f"c{number}") for number in range(4097)])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (set_version, "version 3"),
        (token_in_version_1, "version 1 with join tokens"),
        (requirement_in_version_1, "version 1 with join tokens"),
        (repeat_token, "used join tokens"),
        (nameless_token, "used join tokens"),
        (too_many_tokens, "used join tokens"),
        (drop_first_record, "numbered"),
        (drop_last_record, "epoch 4 of a snapshot is open after 2"),
        (spoil_record, "one of its records"),
        (drop_specification, "without a run"),
        (spoil_specification, "max_attempts"),
        (reverse_roster, "roster"),
        (repeat_roster, "roster"),
        (zero_roster, "node id 0"),
        (spoil_port, "port 0"),
        (repeat_departed, "departed"),
        (zero_departed, "node id 0"),
        (depart_one_of_the_roster, "departed"),
        (repeat_client, "clients"),
        (nameless_client, "clients"),
        (no_floor, "client 'c'"),
        (answer_below_floor, "an answer below 5"),
        (repeat_answer, "repeat themselves"),
        (too_many_answers, "too many"),
        (too_many_clients, "too many"),
    ],
)
def test_a_snapshot_that_contradicts_itself_is_refused(spoil: Callable[[pb.LedgerSnapshot], None], reason: str) -> None:
    encoded = pb.LedgerSnapshot.FromString(snapshot_to_bytes(STATE))
    spoil(encoded)

    with pytest.raises(WireError, match=reason):
        snapshot_from_bytes(encoded.SerializeToString())


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x08"])
def test_bytes_that_are_no_snapshot_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        snapshot_from_bytes(data)
