"""Follows a node's key folder while it runs: a renewed certificate and new revocations count at once, and an operator
hears in time of a certificate that is about to expire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from raftgossip.errors import ConfigError
from raftgossip.facts import Notice
from raftgossip.runtime.clock import Clock, SystemClock
from raftgossip.trust.credentials import LiveCredentials

REFRESH_S = 2.0
WARN_BEFORE_S = (6 * 3600.0, 3600.0, 0.0)
"""So long before a certificate expires the operator hears of it, once each; 0: when it has."""


async def refresh_credentials(
    credentials: LiveCredentials,
    emit: Callable[[Notice], object],
    *,
    interval_s: float = REFRESH_S,
    clock: Clock | None = None,
) -> None:
    """Look at the files every `interval_s` seconds, in a thread, and tell what an operator should know.

    Runs until cancelled.
    """
    clock = clock or SystemClock()
    warnings, trouble = _ExpiryWarnings(), ""
    while True:
        before = credentials.current()
        try:
            is_new = await asyncio.to_thread(credentials.refresh)
        except ConfigError as error:
            if str(error) != trouble:
                trouble = str(error)
                emit(Notice(f"some of the keys cannot be used; those from before stay in force instead: {error}"))
        else:
            trouble = ""
            if is_new and credentials.current().chain_pem != before.chain_pem:
                emit(Notice(f"{credentials.current().identity.uri} shows its renewed certificate from now on"))
        text = warnings.due(credentials, clock.wall_ms() / 1000)
        if text:
            emit(Notice(text))
        await asyncio.sleep(interval_s)


class _ExpiryWarnings:
    """Says each warning once for each certificate."""

    def __init__(self) -> None:
        self._not_after_s = 0.0
        self._said = 0

    def due(self, credentials: LiveCredentials, wall_seconds: float) -> str:
        """What is to be said now; empty: nothing."""
        now = credentials.current()
        if now.not_after_s != self._not_after_s:
            self._not_after_s, self._said = now.not_after_s, 0
        left_s = now.not_after_s - wall_seconds
        num_due = sum(left_s <= before_s for before_s in WARN_BEFORE_S)
        if num_due <= self._said:
            return ""
        self._said = num_due
        renew = f"renew it with `raftgossip keys renew {now.identity.name}`; a restart is not needed"
        if left_s <= 0:
            return f"the certificate of {now.identity.uri} has expired, and the others refuse it: {renew}"
        return f"the certificate of {now.identity.uri} expires in {max(1, round(left_s / 60))} minutes: {renew}"
