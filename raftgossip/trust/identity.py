"""The name of a node or person in a federation, and the server names that a dialler asks for.

The name of a peer is its node id in decimal: so a certificate proves which node calls.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from raftgossip.errors import ConfigError
from raftgossip.ids import MAX_NODE_ID, NodeId

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
MAX_FEDERATION_CHARACTERS = 64
"""The common name of the root's certificate, which holds no more; and a server name of four parts stays one in DNS."""


class Role(StrEnum):
    """What the holder of a certificate is."""

    GATEWAY = "gateway"
    PEER = "peer"
    OPERATOR = "operator"
    """A person or program that changes a running cluster."""
    OBSERVER = "observer"
    """One that only looks."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A verified holder of a certificate.

    Raises:
        ConfigError: a part has other characters than a-z, 0-9 and hyphens, or a peer's name is no node id.
    """

    federation: str
    """Labels with dots between, as in `hearts.example`."""
    organisation: str
    role: Role
    name: str

    def __post_init__(self) -> None:
        check_federation(self.federation)
        check_organisation(self.organisation)
        _check_label("name", self.name)
        if self.role is Role.PEER and not (
            self.name.isdecimal() and str(int(self.name)) == self.name and 0 < int(self.name) <= MAX_NODE_ID
        ):
            raise ConfigError(f"the name of a peer is its node id, from 1 to {MAX_NODE_ID}; {self.name!r} is none")

    @classmethod
    def of_peer(cls, uri: str) -> Identity:
        """The peer that a SPIFFE URI names.

        Raises:
            ConfigError: the text is no such name.
        """
        return cls.of_uri(uri, Role.PEER)

    @classmethod
    def of_uri(cls, uri: str, role: Role) -> Identity:
        """The holder of this role that a SPIFFE URI names.

        Raises:
            ConfigError: the text is no such name.
        """
        scheme, _, path = uri.partition("://")
        federation, _, rest = path.partition("/")
        organisation, _, name = rest.partition("/")
        if scheme != "spiffe":
            raise ConfigError(f"{uri[:80]!r} is no SPIFFE name, spiffe://federation/organisation/name")
        return cls(federation, organisation, role, name)

    @property
    def uri(self) -> str:
        """The SPIFFE name."""
        return f"spiffe://{self.federation}/{self.organisation}/{self.name}"

    @property
    def node_id(self) -> NodeId | None:
        """Which node this is; None: no peer."""
        return NodeId(int(self.name)) if self.role is Role.PEER else None

    @property
    def server_name(self) -> str:
        """What a dialler that wants exactly this one asks TLS to verify; stands in the certificate as a DNS name.

        The organisation stands to the right of role and name, so that a name constraint in its authority's
        certificate keeps it from certifying for another organisation.
        """
        return f"{self.name}.{self.role}.{self.organisation}.{self.federation}"


def owner_of(uri: str, token: str) -> str:
    """To whom a node id belongs where there are certificates: the name in one, together with the state directory, whose
    random token this is. The name alone is not enough: a second life of the node with another directory would have
    forgotten for whom the first one voted."""
    return f"{uri}#{token}"


def name_in_owner(owner: str) -> str:
    """The SPIFFE name in an owner; empty: it entered without a certificate."""
    return owner.partition("#")[0] if owner.startswith("spiffe://") else ""


def role_server_name(role: Role, federation: str) -> str:
    """What a dialler asks for that wants anybody of this role, e.g. any gateway; stands in each certificate too."""
    return f"{role}.{federation}"


def check_federation(text: str) -> str:
    """The text, if it may name a federation.

    Raises:
        ConfigError: it may not.
    """
    if len(text) > MAX_FEDERATION_CHARACTERS or not all(_LABEL.fullmatch(label) for label in text.split(".")):
        raise ConfigError(
            f"the federation {text[:80]!r} must be at most {MAX_FEDERATION_CHARACTERS} characters of a-z, 0-9, "
            "hyphens and dots, e.g. hearts.example"
        )
    return text


def check_organisation(text: str) -> str:
    """The text, if it may name an organisation.

    Raises:
        ConfigError: it may not.
    """
    _check_label("organisation", text)
    if text in frozenset(Role):
        raise ConfigError(f"an organisation cannot be named {text!r}, which is a role")
    return text


def _check_label(what: str, text: str) -> None:
    if not _LABEL.fullmatch(text):
        raise ConfigError(f"the {what} {text[:80]!r} must be 1 to 63 characters of a-z, 0-9 and hyphens between them")
