"""As whom this node speaks: its certificate from the key folder, or nobody, in the open.

Mutual TLS is the default as soon as there are keys. It is never left out in silence: who names a key folder gets TLS or
an error, and who listens to other machines without certificates is told so, loudly.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from raftgossip.errors import ConfigError, TransportError
from raftgossip.ids import NodeId
from raftgossip.peer.config import PeerConfig
from raftgossip.trust import DEFAULT_KEYS
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Role


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """What a node with certificates has; without, it runs in the open and has neither."""

    credentials: LiveCredentials | None = None
    add_revocations: Callable[[bytes], bool] | None = None
    """Keeps a revocation list that somebody sent; False: it is not newer than the one that is here."""


def load_own_keys(config: PeerConfig, node_id: NodeId) -> OwnKeys:
    """This node's keys, as its settings say. Reads files.

    Raises:
        ConfigError: a key folder is named or there, and has no usable certificate of this node; or there is none, and
            join tokens are asked for.
    """
    keys = _folder_of(config)
    if keys is None:
        if config.require_token or config.join_token:
            raise ConfigError(
                "join tokens need certificates, and this node has none: give --keys, or make keys with "
                "`raftgossip keys init`"
            )
        return OwnKeys()
    return OwnKeys(keys.credentials(Role.PEER, str(node_id)), keys.add_revocations)


def _folder_of(config: PeerConfig) -> KeyFolder | None:
    if config.insecure:
        return None
    folder = KeyFolder(config.keys if config.keys is not None else Path(DEFAULT_KEYS))
    if folder.exists():
        return folder
    if config.keys is None:
        return None
    raise ConfigError(
        f"{config.keys} is no key folder, it has no federation.pem: give another --keys, make one with "
        "`raftgossip keys init`, or give --insecure"
    )


def warning_about(host: str, listening_at: str) -> str:
    """What people must hear who let a node without certificates listen at `host`; empty: nothing."""
    if _is_loopback(host):
        return ""
    return (
        f"WITHOUT CERTIFICATES this node listens at {listening_at}, where other machines reach it: whoever does can "
        "read the models and change the cluster. Make keys with `raftgossip keys init`, or listen at 127.0.0.1"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def explained(error: TransportError, credentials: LiveCredentials | None) -> TransportError:
    """In plain words why a connection did not come about, where it failed for the keys of either side; else as it is.

    `credentials`: this node's own; None: it called in the open.
    """
    text = str(error)
    if "failed to connect" not in text:
        return error
    was_closed = any(words in text for words in ("Socket closed", "Connection reset", "Broken pipe"))
    if credentials is None:
        if was_closed:
            return TransportError("whoever listens there closes open connections, so it speaks TLS: give --keys")
        return error
    uri, federation = credentials.current().identity.uri, credentials.current().identity.federation
    if was_closed:
        return TransportError(
            f"whoever listens there refuses the certificate of {uri}: `raftgossip keys show` tells whether it is valid"
        )
    if "WRONG_VERSION_NUMBER" in text:
        return TransportError("whoever listens there does not use TLS: start it with --keys, or this node --insecure")
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return TransportError(
            f"whoever listens there does not belong to the federation {federation}, or its certificate has expired: "
            "compare both federation.pem, and the clocks"
        )
    return error
