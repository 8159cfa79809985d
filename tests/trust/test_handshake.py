"""Real TLS connections over loopback, opened as all programs open theirs: who gets in, and who does not."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from raftgossip.errors import Unauthenticated
from raftgossip.ids import Address
from raftgossip.trust.callers import Caller, Callers
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Identity, Role, role_server_name
from raftgossip.wire.channels import open_channel, open_port
from tests.support.keys import (
    FEDERATION,
    ORGANISATION,
    Forgery,
    authority_in,
    forged_credentials,
    make_keys,
    now_s,
)

METHOD = "/test/Ask"
NODE_1 = Identity(FEDERATION, ORGANISATION, Role.PEER, "1").server_name
ANY_PEER = role_server_name(Role.PEER, FEDERATION)


@dataclass
class Answering:
    """A server that answers who called."""

    credentials: LiveCredentials | None
    address: Address = field(init=False)
    seen: list[Caller] = field(default_factory=list)

    def ask(self, as_whom: LiveCredentials | None, server_name: str = ANY_PEER) -> str:
        """Call it over a new connection; returns the principal that it saw."""
        with open_channel(self.address, as_whom, server_name) as channel:
            return ask(channel)


def ask(channel: grpc.Channel) -> str:
    call: Callable[..., bytes] = channel.unary_unary(METHOD)
    return call(b"", timeout=10).decode()


@contextmanager
def answering(credentials: LiveCredentials | None) -> Iterator[Answering]:
    found = Answering(credentials)
    callers = Callers(credentials, now_s)

    def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            shown: Any = context.auth_context()  # the stubs do not know that each value is a sequence
            caller = callers.of_connection(shown, context.peer())
        except Unauthenticated as error:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        found.seen.append(caller)
        return caller.principal.encode()

    with futures.ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        handlers: Any = {"Ask": grpc.unary_unary_rpc_method_handler(answer)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
        found.address = Address("127.0.0.1", open_port(server, "127.0.0.1:0", credentials))
        server.start()
        try:
            yield found
        finally:
            server.stop(None).wait()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyFolder:
    """A federation with two organisations; tests that change certificates make their own."""
    made = make_keys(tmp_path_factory.mktemp("keys"), peers=(1, 2, 3))
    made.add_organisation("lab", now_s())
    made.issue("lab", Role.PEER, "11", now_s())
    return made


@pytest.fixture(scope="module")
def node_1(keys: KeyFolder) -> Iterator[Answering]:
    with answering(keys.credentials(Role.PEER, "1")) as served:
        yield served


@contextmanager
def refused_in_the_handshake() -> Iterator[None]:
    with pytest.raises(grpc.RpcError) as failure:
        yield
    error: Any = failure.value
    assert error.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("role", "name", "organisation"),
    [
        (Role.PEER, "2", ORGANISATION),
        (Role.PEER, "11", "lab"),
        (Role.OPERATOR, "alice", ORGANISATION),
        (Role.GATEWAY, "gateway-1", ORGANISATION),
    ],
)
def test_the_federations_holders_are_let_in_and_known(
    keys: KeyFolder, node_1: Answering, role: Role, name: str, organisation: str
) -> None:
    shown = keys.credentials(role, name)
    assert node_1.ask(shown, NODE_1) == f"spiffe://{FEDERATION}/{organisation}/{name}"
    certificate = shown.current().certificate
    assert node_1.seen[-1] == Caller(certificate.identity, certificate.key_digest, "127.0.0.1")


def test_without_a_certificate_nobody_gets_in(node_1: Answering) -> None:
    with refused_in_the_handshake():
        node_1.ask(None)
    assert node_1.credentials is not None
    root_pem = node_1.credentials.current().root_pem
    channel = grpc.secure_channel(
        str(node_1.address),
        grpc.ssl_channel_credentials(root_pem),
        options=(("grpc.ssl_target_name_override", ANY_PEER),),
    )
    with channel, refused_in_the_handshake():
        ask(channel)


def test_a_stranger_is_not_let_in(node_1: Answering, tmp_path: Path) -> None:
    # A federation of the same names with another root; the stranger trusts both, so it is the server who refuses.
    stranger = make_keys(tmp_path).credentials(Role.PEER, "2").current()
    assert node_1.credentials is not None
    root_pem = node_1.credentials.current().root_pem
    channel = grpc.secure_channel(
        str(node_1.address),
        grpc.ssl_channel_credentials(root_pem, stranger.key_pem, stranger.chain_pem),
        options=(("grpc.ssl_target_name_override", ANY_PEER),),
    )
    with channel, refused_in_the_handshake():
        ask(channel)


def test_a_stranger_is_not_believed_to_be_the_server(keys: KeyFolder, tmp_path: Path) -> None:
    with answering(make_keys(tmp_path).credentials(Role.PEER, "1")) as stranger, refused_in_the_handshake():
        stranger.ask(keys.credentials(Role.PEER, "2"), NODE_1)


@pytest.mark.parametrize(
    "server_name",
    [
        Identity(FEDERATION, ORGANISATION, Role.PEER, "2").server_name,
        Identity(FEDERATION, "lab", Role.PEER, "1").server_name,
        Identity(FEDERATION, ORGANISATION, Role.GATEWAY, "1").server_name,
        role_server_name(Role.GATEWAY, FEDERATION),
        FEDERATION,
    ],
)
def test_a_server_that_is_somebody_else_is_not_spoken_to(keys: KeyFolder, node_1: Answering, server_name: str) -> None:
    with refused_in_the_handshake():
        node_1.ask(keys.credentials(Role.PEER, "2"), server_name)


FORGERIES = {
    "another organisation's names": Forgery(),
    "a name among its own": Forgery(organisation="lab", dns_names=(f"11.peer.lab.{FEDERATION}", NODE_1)),
    "any name of another organisation": Forgery(dns_names=(f"*.peer.{ORGANISATION}.{FEDERATION}",)),
    "any name": Forgery(dns_names=(f"*.{FEDERATION}",)),
    "only a common name": Forgery(name=NODE_1, uris=(), dns_names=()),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_one_organisation_cannot_pass_for_another_ones_node(keys: KeyFolder, what: str) -> None:
    forged = forged_credentials(authority_in(keys, "lab"), FORGERIES[what], keys)
    with answering(forged) as impostor, refused_in_the_handshake():
        impostor.ask(keys.credentials(Role.PEER, "2"), NODE_1)
    with answering(keys.credentials(Role.PEER, "1")) as served, refused_in_the_handshake():
        served.ask(forged)


def test_a_callers_name_in_another_organisation_is_refused_though_its_server_names_are_its_own(
    keys: KeyFolder, node_1: Answering
) -> None:
    # TLS constrains server names only; whose name stands in the URI is held by who issued the certificate.
    forgery = Forgery(dns_names=(f"11.peer.lab.{FEDERATION}", ANY_PEER))
    with pytest.raises(grpc.RpcError) as failure:
        node_1.ask(forged_credentials(authority_in(keys, "lab"), forgery, keys))
    error: Any = failure.value
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


UNFIT = {
    "expired": Forgery(starts_s=-7200, ends_s=-3600),
    "not valid yet": Forgery(starts_s=3600, ends_s=7200),
    "not for servers and clients": Forgery(usages=(ExtendedKeyUsageOID.CODE_SIGNING,)),
}


@pytest.mark.parametrize("what", UNFIT)
def test_an_unfit_certificate_is_refused_at_both_ends(keys: KeyFolder, node_1: Answering, what: str) -> None:
    unfit = forged_credentials(authority_in(keys), UNFIT[what], keys)
    with refused_in_the_handshake():
        node_1.ask(unfit)
    with answering(unfit) as served, refused_in_the_handshake():
        served.ask(keys.credentials(Role.PEER, "2"), NODE_1)


def test_a_holder_cannot_certify_others(keys: KeyFolder, node_1: Answering) -> None:
    authority = authority_in(keys)
    below = type(authority)(
        Forgery(is_authority=True, may_sign=True).signed_by(authority, authority.key), authority.key
    )
    with refused_in_the_handshake():
        node_1.ask(forged_credentials(below, Forgery(), keys))


def test_a_server_shows_its_renewed_certificate_from_the_next_connection_on(tmp_path: Path) -> None:
    keys = make_keys(tmp_path)
    live = keys.credentials(Role.PEER, "1")
    asking = keys.credentials(Role.PEER, "2")
    with answering(live) as served:
        assert served.ask(asking, NODE_1)
        first = shown_by(served, asking)
        keys.renew(Role.PEER, "1", now_s(), new_key=True)
        assert shown_by(served, asking) == first
        assert live.refresh()
        second = shown_by(served, asking)
        assert second == live.current().chain_pem[: len(second)]
        assert second != first
        assert served.ask(asking, NODE_1)


def shown_by(served: Answering, asking: LiveCredentials) -> bytes:
    """The certificate that the server shows on a new connection."""
    now = asking.current()
    context = ssl.create_default_context(cadata=now.root_pem.decode())
    context.load_cert_chain(now.chain_path, now.key_path)
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((served.address.host, served.address.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=NODE_1) as secured,
    ):
        der = secured.getpeercert(binary_form=True)
    assert der is not None
    return ssl.DER_cert_to_PEM_cert(der).encode()


def test_a_caller_shows_its_renewed_certificate_from_its_next_channel_on(tmp_path: Path) -> None:
    keys = make_keys(tmp_path)
    live = keys.credentials(Role.PEER, "2")
    with answering(keys.credentials(Role.PEER, "1")) as served, ExitStack() as stack:
        kept = stack.enter_context(open_channel(served.address, live, NODE_1))
        ask(kept)
        keys.renew(Role.PEER, "2", now_s(), new_key=True)
        assert live.refresh()
        served.ask(live)
        ask(kept)
    digests = [caller.key_digest for caller in served.seen]
    assert digests[0] == digests[2] != digests[1] == live.current().certificate.key_digest


def test_a_revoked_callers_open_connection_is_good_for_nothing(tmp_path: Path) -> None:
    keys = make_keys(tmp_path)
    live = keys.credentials(Role.PEER, "1")
    with answering(live) as served, open_channel(served.address, keys.credentials(Role.PEER, "2"), NODE_1) as channel:
        ask(channel)
        keys.revoke(Role.PEER, "2", now_s())
        assert live.refresh()
        with pytest.raises(grpc.RpcError) as failure:
            ask(channel)
    error: Any = failure.value
    assert (error.code(), "is revoked" in error.details()) == (grpc.StatusCode.UNAUTHENTICATED, True)


def test_in_the_open_anybody_is_let_in_as_an_address() -> None:
    with answering(None) as served:
        assert served.ask(None) == "127.0.0.1"
    assert served.seen == [Caller(None, address="127.0.0.1")]
