"""Whose a node id is.

An id belongs to the owner that registered it for as long as it is registered, suspected or not: whoever comes with
another owner is refused, and the same owner is updated wherever it comes from. Without owners, as with the original
clients, the address stands for it, and a node that seems dead may be replaced. A certificate outranks a record that was
made without one, for that is from before there were certificates.
"""

from __future__ import annotations

from gateway.registry_values import ACTIVE, NodeRecord, Registration


def may_take_over(old: NodeRecord, new: Registration) -> bool:
    """Whether a registration may replace a record under the same id."""
    known = old.registration
    if known.principal == new.principal:
        return True
    if old.gateway_id:
        return False  # else two gateways could disagree about whose it is
    if new.identity and not known.identity:
        return True
    if known.owner or known.identity:
        return False
    return known.address == new.address or (old.status != ACTIVE and not new.owner)
