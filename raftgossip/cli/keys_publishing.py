"""Tells peers and gateways which certificates are revoked."""

from __future__ import annotations

from collections.abc import Sequence

from raftgossip.cli.dialling import own_credentials, why_silent
from raftgossip.errors import RaftGossipError, TransportError
from raftgossip.ids import Address
from raftgossip.runtime.grpc_gateway_operator import GatewayOperatorClient
from raftgossip.runtime.grpc_operator import OperatorClient
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.identity import Role

Told = tuple[str, bool, str]
"""An address, whether the list was taken there, and what was said."""


def publish_to(addresses: Sequence[str], revocation_list: bytes, keys: str, insecure: bool) -> list[Told]:
    """Send an organisation's list to each of these peers and gateways.

    Raises:
        ConfigError: an address is malformed, or there is no certificate to speak with.
    """
    places = [Address.parse(text) for text in addresses]
    credentials = own_credentials(keys, insecure, (Role.OPERATOR, Role.PEER))
    return [_publish(place, revocation_list, credentials) for place in places]


def _publish(address: Address, revocation_list: bytes, credentials: LiveCredentials | None) -> Told:
    """As what the program there answers, a peer or a gateway, only trying tells."""
    problems: list[str] = []
    for what, kind in (("peer", OperatorClient), ("gateway", GatewayOperatorClient)):
        client = kind(address, credentials)
        try:
            return str(address), True, client.publish_revocations(revocation_list)
        except TransportError as error:
            problems.append(why_silent(address, what, credentials, error))
        except RaftGossipError as error:
            problems.append(str(error))
        finally:
            client.close()
    # A gateway is no peer and says so; the other answer is the one that helps.
    is_gateway = "is no peer" in problems[0] or problems[0].startswith("UNIMPLEMENTED")
    return str(address), False, problems[1] if is_gateway else problems[0]
