"""What holds for every sequence of commands: the ledger never raises, and epochs are neither skipped nor repeated."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from raftgossip.core.epoch.command import (
    AddPeer,
    CloseEpoch,
    Command,
    FailedEdge,
    LinkBytes,
    OpenEpoch,
    RemovePeer,
    ReportEpoch,
    RetryExchange,
    StartRun,
)
from raftgossip.core.epoch.config import RunSpec
from raftgossip.core.epoch.ledger import Ledger
from raftgossip.ids import Address

NODES = st.integers(0, 4)
EPOCHS = st.integers(0, 4)
ATTEMPTS = st.integers(0, 3)
GROUPS = st.lists(NODES, max_size=4).map(tuple) | st.sets(st.integers(1, 4)).map(lambda nodes: tuple(sorted(nodes)))
DIGESTS = st.sampled_from([b"", b"m", b"n"])
FLOATS = st.floats(allow_nan=False)

SPECS = st.builds(
    RunSpec,
    *(st.just(name) for name in ("task", "fedavg", "base")),
    num_epochs=st.integers(0, 2),
    min_participants=st.integers(1, 2),
    **{name: st.just(1) for name in ("seed", "local_passes", "train_deadline_ms", "exchange_deadline_ms")},
    **{name: st.just(1) for name in ("min_epoch_ms", "max_attempts", "num_elements")},
    schema_digest=st.just(b"s" * 32),
    requires_token=st.booleans(),
)

REPORTS = st.builds(
    ReportEpoch,
    EPOCHS,
    ATTEMPTS,
    NODES,
    DIGESTS,
    num_samples=st.integers(-1, 2**64),
    metrics=st.lists(st.tuples(st.sampled_from("ab"), FLOATS), max_size=3).map(tuple),
    links=st.lists(st.builds(LinkBytes, NODES, st.just(5), st.just(5)), max_size=2).map(tuple),
    failed_edges=st.lists(st.builds(FailedEdge, NODES, st.just("broke"), st.booleans()), max_size=2).map(tuple),
    error=st.sampled_from(["", "", "no disk"]),
)

COMMANDS = st.one_of(
    st.builds(StartRun, SPECS, DIGESTS),
    st.builds(
        AddPeer,
        NODES,
        st.just(Address("h", 1)),
        st.sampled_from("xy"),
        st.just(()),
        st.sampled_from(["", "o", "o", "p"]),
        st.sampled_from(["", "t", "u"]),
        st.sampled_from([1, 2000]),
    ),
    st.builds(RemovePeer, NODES),
    st.builds(OpenEpoch, EPOCHS, GROUPS, DIGESTS, NODES, st.booleans()),
    st.builds(RetryExchange, EPOCHS, ATTEMPTS, GROUPS, DIGESTS, st.booleans()),
    REPORTS,
    st.builds(CloseEpoch, EPOCHS, ATTEMPTS, st.sampled_from(["closed", "failed", "?"]), st.just(""), NODES),
)


class _Steer:
    """Turns every other command into one that fits the ledger's state, so that sequences reach deep states."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def fit(self, command: Command) -> Command:
        view = self._ledger.view()
        opened = view.open_epoch
        match command:
            case OpenEpoch():
                roster = tuple(entry.node_id for entry in view.roster)
                return OpenEpoch(view.last_epoch + 1, roster, command.plan_digest, command.leader, command.exact)
            case RetryExchange() if opened is not None:
                survivors = tuple(node for node in opened.participants if node not in opened.lost)
                return RetryExchange(opened.epoch, opened.attempt + 1, survivors, b"p", command.exact)
            case ReportEpoch() if opened is not None:
                node = opened.participants[command.node_id % len(opened.participants)]
                return ReportEpoch(opened.epoch, opened.attempt, node, b"m", 1, command.metrics, command.links)
            case CloseEpoch() if opened is not None:
                return CloseEpoch(opened.epoch, opened.attempt, command.outcome, "", command.leader)
            case _:
                return command


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(COMMANDS, st.booleans()), max_size=60))
def test_any_commands_leave_equal_valid_ledgers_with_epochs_in_order(sequence) -> None:
    first, second = Ledger(), Ledger()
    steer = _Steer(first)
    for index, (drawn, fits) in enumerate(sequence, start=1):
        command = steer.fit(drawn) if fits else drawn
        before = first.view()
        result, facts = first.apply(index, command)
        assert (result, facts) == second.apply(index, command)
        first.check_invariants()
        after = first.view()
        assert after == second.view() and first.state() == second.state() == Ledger(first.state()).state()
        if not result.accepted:
            assert result.reason and facts == () and _content(after) == _content(before)
        assert after.last_epoch - before.last_epoch in (0, 1)
    closed = [record for record in first.records(1, 1000) if record.outcome == "closed"]
    assert len({record.epoch for record in closed}) == len(closed) == first.view().num_closed
    assert all(record.contributors for record in closed)


def _content(view):
    """Everything but the position in the log."""
    return (view.specification, view.roster, view.departed, view.open_epoch, view.last_epoch, view.num_closed)
