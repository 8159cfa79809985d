"""The values behind the lines of golden_v2.txt, which came with join tokens.

As in tests/support/golden.py, a value here never changes.
"""

from __future__ import annotations

from dataclasses import replace

from raftgossip.core.epoch.command import AddPeer, Envelope, StartRun
from raftgossip.core.epoch.ledger import LedgerState
from raftgossip.core.replica import ReplicaState
from raftgossip.ids import Address, Incarnation, NodeId
from tests.support.golden import SPECIFICATION
from tests.wire.golden_snapshots import STATES

SPECIFICATION_2 = replace(SPECIFICATION, requires_token=True)
ENVELOPES_2 = {
    "start_run": Envelope("4/9f2c", 7, 5, StartRun(SPECIFICATION_2, b"i" * 32)),
    "add_peer": Envelope(
        "4/9f2c",
        7,
        5,
        AddPeer(
            NodeId(4),
            Address("10.0.0.4", 7004),
            Incarnation("9f2c"),
            (("hospital", "cleveland"),),
            "spiffe://hearts.example/cleveland/4",
            "00112233",
            1_700_000_900,
        ),
    ),
}
STATES_2 = {
    "requirement": ReplicaState(LedgerState(specification=SPECIFICATION_2), ()),
    "tokens": replace(
        STATES["ledger"],
        ledger=replace(STATES["ledger"].ledger, used_tokens=(("00112233", 1_700_000_900), ("abcd", 1_700_000_800))),
    ),
}
