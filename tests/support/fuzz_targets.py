"""All targets of scripts/fuzz.py and tests/fuzz, each with valid inputs to begin from."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from raftgossip.trust import authority
from raftgossip.trust.authority import read_request
from raftgossip.trust.certificates import read_certificate, read_pem_certificates
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Identity, Role
from raftgossip.trust.revocation import read_revocation_list
from raftgossip.trust.tokens import read_token
from tests.support.fuzzing import Target, parser_of

NOW_S = 1_800_000_000.0
SKEW_S = 60.0


@dataclass(frozen=True, slots=True)
class FuzzTarget:
    """Takes any bytes; `seeds` are valid ones."""

    run: Target
    seeds: tuple[bytes, ...]


def _trust_targets() -> dict[str, FuzzTarget]:
    with tempfile.TemporaryDirectory() as folder:
        keys = KeyFolder(Path(folder) / "keys")
        keys.init("fuzz.example", "basel", NOW_S)
        keys.issue("basel", Role.PEER, "1", NOW_S)
        keys.revoke(Role.PEER, "1", NOW_S)
        keys.issue("basel", Role.OPERATOR, "alice", NOW_S)
        token = keys.token(Role.OPERATOR, "alice", 600, NOW_S).encode()
        root_pem = (keys.path / "federation.pem").read_bytes()
        chain = (keys.path / "nodes" / "operator-alice.pem").read_bytes()
        revocations = keys.revocation_list("basel")
    root = read_pem_certificates(root_pem)[0]
    request = authority.make_request(authority.make_key(), "basel", Role.PEER, "7")

    def der(read: Callable[[bytes], object], label: str) -> Callable[[bytes], object]:
        """Junk inside of well-formed PEM gets further than junk outside of it."""
        import base64

        return lambda data: read(
            b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (label.encode(), base64.encodebytes(data), label.encode())
        )

    def inside(pem: bytes) -> bytes:
        import base64

        lines = pem.split(b"-----END")[0].splitlines()[1:]
        return base64.b64decode(b"".join(lines))

    def token_text(data: bytes) -> object:
        return read_token(data.decode("utf-8", "surrogateescape"), root_pem, NOW_S, SKEW_S)

    def crl(data: bytes) -> object:
        return read_revocation_list(data, root)

    def uri(data: bytes) -> object:
        return Identity.of_peer(data.decode("utf-8", "replace"))

    return {
        "token": FuzzTarget(parser_of(token_text), (token, token[:-20])),
        "certificate": FuzzTarget(parser_of(read_certificate), (chain, root_pem)),
        "certificate-der": FuzzTarget(parser_of(der(read_certificate, "CERTIFICATE")), (inside(chain),)),
        "revocation-list": FuzzTarget(parser_of(crl), (revocations,)),
        "revocation-list-der": FuzzTarget(parser_of(der(crl, "X509 CRL")), (inside(revocations),)),
        "certificate-request": FuzzTarget(parser_of(read_request), (request,)),
        "certificate-request-der": FuzzTarget(
            parser_of(der(read_request, "CERTIFICATE REQUEST")), (inside(request),)
        ),
        "peer-name": FuzzTarget(parser_of(uri), (b"spiffe://fuzz.example/basel/1",)),
    }


TARGETS: dict[str, FuzzTarget] = {**_trust_targets()}
