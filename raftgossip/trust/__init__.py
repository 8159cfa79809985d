"""Who is who, and who may do what: names, certificates, tokens, revocations, one table of rights. It knows no network.

A *federation* has one root authority. It certifies one authority per *organisation*, and that one certifies the
organisation's nodes and people. A certificate names its holder by a SPIFFE URI, `spiffe://federation/organisation/name`,
and by its *role*; what a holder may do follows from the role alone (`policy.py`). Who calls is read from the connection
(`callers.py`), never from a message.
"""

from __future__ import annotations

DEFAULT_KEYS = "raftgossip-keys"
"""The key folder that programs take where none is named and this one is there, from where they are started."""
