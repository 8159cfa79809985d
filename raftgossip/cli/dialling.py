"""As whom a command speaks, and what it means when a connection does not come about: gRPC's texts in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from raftgossip.errors import ConfigError, DeadlineExceeded, TransportError
from raftgossip.ids import Address
from raftgossip.runtime.clock import SystemClock
from raftgossip.trust import DEFAULT_KEYS
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Role

READERS = (Role.OPERATOR, Role.OBSERVER, Role.PEER)
"""Who may look; the first of them that the folder has a certificate for speaks."""
UNKNOWN_HOST = ("DNS", "Name resolution", "Domain name")
"""How gRPC words that the host's name leads nowhere."""
NEVER_ARRIVED = ("failed to connect", *UNKNOWN_HOST, "Connection refused")
"""How it words that nobody took the request; so nothing can have been done."""
NOT_CONNECTED = (*NEVER_ARRIVED, "Socket closed")
"""How it words that no answer can come; other texts of one who is unavailable are his own."""

_CLOSED = ("Socket closed", "Connection reset", "Broken pipe")
_FOREIGN_PROTOCOL = ("HTTP/2", "http1.x")
_IN_TLS = (
    (
        ("WRONG_VERSION_NUMBER", *_FOREIGN_PROTOCOL),
        "the {what} at {address} does not use TLS: give --insecure, or start it with --keys",
    ),
    (
        ("certificate has expired",),
        "the certificate of the {what} at {address} has expired: renew it there with `raftgossip keys renew`",
    ),
    (
        ("not yet valid",),
        "the certificate of the {what} at {address} is not valid yet: compare that machine's clock with this one's",
    ),
    (
        ("CERTIFICATE_VERIFY_FAILED",),
        "the {what} at {address} does not belong to the federation {federation}: give --keys of its own federation, "
        "or check the address",
    ),
    (
        ("Hostname Verification", "Peer name"),
        "at {address} is no {what} of the federation {federation}: check the address; a gateway is no peer",
    ),
    (
        _CLOSED,
        "the {what} at {address} refused the certificate {certificate} of {name}: `raftgossip keys show` tells whether "
        "it is still valid; has its federation other keys, or is this machine's clock wrong?",
    ),
)
"""What gRPC says where a TLS connection did not come about, and what that means; the first that fits counts."""


def own_credentials(keys: str | None, insecure: bool, roles: Sequence[Role] = READERS) -> LiveCredentials | None:
    """As whom to speak: by the first of `roles` that the key folder has a certificate for. None: in the open.

    Raises:
        ConfigError: the folder was named and is none, it has no such certificate, or that one counts no more.
    """
    if insecure:
        return None
    folder = KeyFolder(Path(keys if keys is not None else DEFAULT_KEYS))
    if not folder.exists():
        if keys is None:
            return None
        raise ConfigError(
            f"{keys} is no key folder, it has no federation.pem: give another --keys, make one with "
            "`raftgossip keys init`, or give --insecure"
        )
    credentials = folder.any_of(roles)
    credentials.current().require_valid(SystemClock().wall_ms() / 1000)
    return credentials


def why_silent(address: Address, what: str, credentials: LiveCredentials | None, error: TransportError) -> str:
    """Why a call to `what` (peer or gateway) at `address` brought no answer, and what to do, as a sentence."""
    text = str(error)
    if isinstance(error, DeadlineExceeded):
        return f"the {what} at {address} does not answer in time: it may be stopped, overloaded or cut off; try another"
    if any(words in text for words in UNKNOWN_HOST):
        return f"{address.host}: no such host; check the address {address}"
    if "failed to connect" in text:
        explained = (
            _in_the_open(text, address, what) if credentials is None else _in_tls(text, address, what, credentials)
        )
        if explained:
            return explained
    if any(words in text for words in NOT_CONNECTED):
        command = "raftgossip gateway" if what == "gateway" else "raftgossip node"
        return f"no {what} answers at {address}: check the address, or start it there with `{command}`"
    return f"the {what} at {address} cannot do this now: {text}"


def _in_the_open(text: str, address: Address, what: str) -> str:
    """Why a connection without TLS did not come about; empty: the reason is another."""
    if any(words in text for words in _FOREIGN_PROTOCOL):
        return f"at {address} answers something else than a {what}: check the address"
    if any(words in text for words in _CLOSED):
        return (
            f"the {what} at {address} closes open connections, so it speaks TLS: give --keys with the folder of your "
            "certificate (or set RAFTGOSSIP_KEYS)"
        )
    return ""


def _in_tls(text: str, address: Address, what: str, credentials: LiveCredentials) -> str:
    """The same with TLS."""
    now = credentials.current()
    for words, sentence in _IN_TLS:
        if any(each in text for each in words):
            return sentence.format(
                what=what,
                address=address,
                federation=now.identity.federation,
                certificate=now.chain_path,
                name=now.identity.uri,
            )
    return ""
