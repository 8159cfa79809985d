"""With certificates: to whom an id belongs, which join token lets a newcomer in, and what a peer has proposed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raftgossip.core.epoch.command import AddPeer, CloseEpoch, Command, Envelope, RemovePeer, ReportEpoch, StartRun
from raftgossip.core.epoch.ledger import Ledger, LedgerView
from raftgossip.errors import AlreadyExists, NoQuorum, PermissionDenied, Unauthenticated
from raftgossip.ids import Address, Epoch, Incarnation, NodeId
from raftgossip.peer.membership import add_peer, check_newcomer, refuse_foreign_command, token_to_enter_with
from raftgossip.runtime.service import JoinAsk
from raftgossip.trust.callers import SKEW_S, Caller
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Identity, Role
from tests.support.golden import SPECIFICATION
from tests.support.keys import make_keys, now_s

ADDRESS = Address("10.0.0.4", 7004)
FOUNDER = NodeId(1)
CLINIC = "spiffe://hearts.example/clinic"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyFolder:
    """Of nodes 4 and 5."""
    return make_keys(tmp_path_factory.mktemp("admission"), peers=(4, 5), gateway=False)


def view_of(*commands: Command, requires_token: bool = True) -> LedgerView:
    """A started run, and then these commands, all of which must be accepted."""
    ledger = Ledger()
    start = StartRun(replace(SPECIFICATION, requires_token=requires_token), b"")
    for index, command in enumerate((start, *commands), start=1):
        result, _ = ledger.apply(index, command)
        assert result.accepted, result.reason
    return ledger.view()


def added(node_id: int, owner: str) -> AddPeer:
    return AddPeer(NodeId(node_id), Address("10.0.0.9", 7000 + node_id), Incarnation("a"), (), owner)


IN = added(1, f"{CLINIC}/1")
"""The founder is in."""


def ask(node_id: int, uri: str, *, token: str = "", key_digest: bytes = b"") -> JoinAsk:
    """As the server makes it from a connection whose certificate names `uri`."""
    digest = SPECIFICATION.schema_digest
    asked = JoinAsk(NodeId(node_id), ADDRESS, Incarnation("b"), uri, digest, SPECIFICATION.task, "", ())
    return replace(asked, identity=uri, join_token=token, key_digest=key_digest)


def ask_of(keys: KeyFolder, node_id: int, token: str = "") -> JoinAsk:
    """A newcomer with its own certificate."""
    (digest,) = (
        each.certificate.key_digest
        for each in keys.certificates(now_s())
        if each.certificate.identity.name == str(node_id)
    )
    return ask(node_id, f"{CLINIC}/{node_id}", token=token, key_digest=digest)


def token_of(keys: KeyFolder, node_id: int, issued_s: float | None = None) -> str:
    return keys.token(Role.PEER, str(node_id), 900, now_s() if issued_s is None else issued_s)


# --- ids


def test_an_id_belongs_to_the_name_in_the_certificate() -> None:
    view = view_of(IN, added(4, f"{CLINIC}/4"), requires_token=False)
    check_newcomer(ask(4, f"{CLINIC}/4"), view, "c1")
    with pytest.raises(
        AlreadyExists, match=r"node id 4 belongs to spiffe://hearts.example/clinic/4; spiffe.*bern/4 asked"
    ):
        check_newcomer(ask(4, "spiffe://hearts.example/bern/4"), view, "c1")


def test_an_id_belongs_to_its_name_also_after_its_node_left() -> None:
    view = view_of(IN, added(4, f"{CLINIC}/4"), RemovePeer(NodeId(4)), requires_token=False)
    check_newcomer(ask(4, f"{CLINIC}/4"), view, "c1")
    with pytest.raises(AlreadyExists, match="belongs to"):
        check_newcomer(ask(4, "spiffe://hearts.example/bern/4"), view, "c1")


@pytest.mark.parametrize("gone", [(), (RemovePeer(NodeId(4)),)])
def test_an_id_of_a_state_directory_does_not_pass_to_a_certificate(gone: tuple[Command, ...]) -> None:
    with pytest.raises(AlreadyExists, match=r"without certificates.*members remove 4.*another --node-id.*--insecure"):
        check_newcomer(
            ask(4, f"{CLINIC}/4"), view_of(added(4, "9f2c"), added(2, "x"), *gone, requires_token=False), "c1"
        )


def test_an_id_of_a_certificate_does_not_pass_to_a_state_directory() -> None:
    view = view_of(added(4, f"{CLINIC}/4"), requires_token=False)
    with pytest.raises(AlreadyExists, match="belongs to spiffe"):
        check_newcomer(replace(ask(4, "9f2c"), identity=""), view, "c1")


# --- tokens


def enter(asked: JoinAsk, view: LedgerView, keys: KeyFolder | None, wall_s: float | None = None) -> AddPeer:
    """The command with which the leader, node 1, lets a newcomer in."""
    root_pem = (keys.path / "federation.pem").read_bytes() if keys is not None else None
    token = token_to_enter_with(asked, view, FOUNDER, root_pem, now_s() if wall_s is None else wall_s)
    return add_peer(asked, token)


def test_a_newcomer_with_its_token_enters_and_the_command_names_the_token(keys: KeyFolder) -> None:
    first, second = (enter(ask_of(keys, 4, token_of(keys, 4)), view_of(IN), keys) for _ in range(2))
    assert first.token_id and second.token_id and first.token_id != second.token_id
    assert 0 < first.token_expires_s - now_s() <= 900


def test_a_token_that_is_shown_is_verified_and_used_up_where_none_is_required(keys: KeyFolder) -> None:
    view = view_of(IN, requires_token=False)
    assert enter(ask_of(keys, 4, token_of(keys, 4)), view, keys).token_id
    with pytest.raises(Unauthenticated):
        enter(ask_of(keys, 4, "v1.a.b.c"), view, keys)
    assert not enter(ask_of(keys, 4), view, keys).token_id


def test_a_newcomer_without_a_token_hears_how_to_get_one(keys: KeyFolder) -> None:
    with pytest.raises(PermissionDenied, match=r"rule join-token: node 4.*`raftgossip keys token`"):
        enter(ask_of(keys, 4), view_of(IN), keys)


def test_a_token_of_another_node_or_too_old_lets_nobody_in(keys: KeyFolder) -> None:
    with pytest.raises(Unauthenticated, match="another key"):
        enter(ask_of(keys, 4, token_of(keys, 5)), view_of(IN), keys)
    old = token_of(keys, 4)
    enter(ask_of(keys, 4, old), view_of(IN), keys, now_s() + 899)
    with pytest.raises(Unauthenticated, match="expired"):
        enter(ask_of(keys, 4, old), view_of(IN), keys, now_s() + 901 + SKEW_S)


def test_a_member_needs_no_token_and_an_old_one_does_not_shut_it_out(keys: KeyFolder) -> None:
    view = view_of(IN, replace(added(4, f"{CLINIC}/4"), token_id="t", token_expires_s=900))
    for token in ("", "v1.a.b.c"):
        assert not enter(ask_of(keys, 4, token), view, keys).token_id


def test_who_is_invited_needs_no_token_and_who_left_needs_another(keys: KeyFolder) -> None:
    assert not enter(ask_of(keys, 4), view_of(IN, added(4, "")), keys).token_id
    was_in = replace(added(4, f"{CLINIC}/4"), token_id="t", token_expires_s=900)
    with pytest.raises(PermissionDenied, match="rule join-token"):
        enter(ask_of(keys, 4), view_of(IN, was_in, RemovePeer(NodeId(4))), keys)


def test_a_name_comes_back_only_with_the_state_directory_that_it_had(keys: KeyFolder) -> None:
    first, twin = f"{CLINIC}/4#first", f"{CLINIC}/4#twin"
    view = view_of(IN, replace(added(4, first), token_id="t", token_expires_s=900))
    check_newcomer(replace(ask(4, first), identity=f"{CLINIC}/4"), view, "c1")
    with pytest.raises(AlreadyExists, match="--data-dir that it had before"):
        check_newcomer(replace(ask(4, twin), identity=f"{CLINIC}/4"), view, "c1")


def test_nobody_enters_before_the_founder_but_itself(keys: KeyFolder) -> None:
    assert not enter(ask(1, f"{CLINIC}/1"), view_of(), keys).token_id
    with pytest.raises(NoQuorum, match="being founded; retry"):
        enter(ask_of(keys, 4, token_of(keys, 4)), view_of(added(4, "")), keys)


def test_without_certificates_no_token_counts(keys: KeyFolder) -> None:
    with pytest.raises(PermissionDenied, match="nobody can verify"):
        enter(ask_of(keys, 4, token_of(keys, 4)), view_of(IN, requires_token=False), None)


# --- what is forwarded


REPORT = ReportEpoch(Epoch(1), 1, NodeId(4), b"m", 1, ())


def forward(command: Command, client: str = "4/9f2c") -> None:
    caller = Caller(Identity("hearts.example", "clinic", Role.PEER, "4"))
    refuse_foreign_command(Envelope(client, 1, 1, command), caller)


def test_a_peer_has_its_reports_and_its_leaving_proposed() -> None:
    forward(REPORT)
    forward(RemovePeer(NodeId(4)))


@pytest.mark.parametrize(
    ("command", "client", "words"),
    [
        (replace(REPORT, node_id=NodeId(5)), "4/9f2c", "sent ReportEpoch of node 5"),
        (RemovePeer(NodeId(5)), "4/9f2c", "sent RemovePeer of node 5"),
        (added(4, f"{CLINIC}/4"), "4/9f2c", "sent AddPeer of node 4"),
        (StartRun(SPECIFICATION, b""), "4/9f2c", "sent StartRun"),
        (CloseEpoch(Epoch(1), 1, "closed", "", NodeId(4)), "4/9f2c", "sent CloseEpoch"),
        (REPORT, "5/77aa", "stamped by '5/77aa'"),
        (REPORT, "44/9f2c", "stamped by '44/9f2c'"),
    ],
)
def test_a_peer_has_nothing_else_proposed(command: Command, client: str, words: str) -> None:
    with pytest.raises(PermissionDenied, match="rule own-affairs") as caught:
        forward(command, client)
    assert words in str(caught.value)


def test_in_the_open_anybody_has_anything_proposed() -> None:
    refuse_foreign_command(Envelope("5/77aa", 1, 1, RemovePeer(NodeId(4))), Caller(None))
