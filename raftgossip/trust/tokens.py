"""Join tokens: an organisation's permission, for one node and a few minutes, to enter the cluster once.

That a token is used only once is held by the ledger, which remembers those that let somebody in.
"""

from __future__ import annotations

from dataclasses import dataclass

from raftgossip.errors import Unauthenticated
from raftgossip.trust.identity import Identity, Role

MAX_LIFETIME_S = 900
"""No token is valid for longer than 15 minutes."""


@dataclass(frozen=True, slots=True)
class JoinToken:
    """What a verified token says."""

    token_id: str
    federation: str
    organisation: str
    role: Role
    key_digest: bytes
    expires_s: float

    def check(self, identity: Identity, key_digest: bytes) -> None:
        """Refuse a token that was made for somebody else.

        Raises:
            Unauthenticated: names what differs.
        """
        raise Unauthenticated("to be written")


def read_token(text: str, root_pem: bytes, wall_seconds: float, skew_s: float) -> JoinToken:
    """Verify a token: signed by an authority of an organisation that the root certifies, and not expired.

    Raises:
        Unauthenticated: it is not; says why, without what was in it.
    """
    raise Unauthenticated("to be written")
