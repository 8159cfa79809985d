"""What an operator hears of certificates while a node runs, each thing once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from raftgossip.errors import ConfigError
from raftgossip.facts import Notice
from raftgossip.runtime.credential_renewal import refresh_credentials
from raftgossip.trust.certificates import Certificate
from raftgossip.trust.credentials import Credentials, LiveCredentials
from raftgossip.trust.revocation import Revocations
from tests.support.keys import now_s
from tests.support.secured import ShiftedClock, peer_identity

HOUR_S = 3600.0


class Files:
    """Credentials as the files say, or the trouble with them."""

    def __init__(self, lifetime_s: float) -> None:
        nowhere = Path("nowhere")
        certificate = Certificate(peer_identity(1), 1, b"", 0.0, now_s() + lifetime_s)
        self.now = Credentials(certificate, b"k", b"c", b"r", nowhere, nowhere, nowhere, Revocations())
        self.trouble = ""
        self.has_changed = False
        self.looks = threading.Semaphore(0)
        self.live = LiveCredentials(self._read, self._look)

    def _read(self) -> Credentials:
        if self.trouble:
            raise ConfigError(self.trouble)
        return self.now

    def _look(self) -> bool:
        self.looks.release()
        return self.has_changed


def told(files: Files, clock: ShiftedClock, *steps: Callable[[], None]) -> list[str]:
    """What is said while these things happen, one after the other."""
    texts: list[str] = []

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            emitted: Callable[[Notice], None] = lambda notice: texts.append(notice.text)  # noqa: E731
            task = group.create_task(refresh_credentials(files.live, emitted, interval_s=0.001, clock=clock))
            for step in (lambda: None, *steps):
                step()
                while files.looks.acquire(blocking=False):
                    pass  # looks from before
                for _ in range(3):
                    assert await asyncio.to_thread(files.looks.acquire, timeout=10)
            task.cancel()

    asyncio.run(main())
    return texts


def test_a_certificate_that_lasts_is_not_worth_a_word() -> None:
    assert told(Files(24 * HOUR_S), ShiftedClock()) == []


def test_an_end_that_comes_near_is_told_three_times() -> None:
    clock = ShiftedClock()
    shifts = [lambda hours=hours: setattr(clock, "shift_s", hours * HOUR_S) for hours in (5, 7, 7.5, 9)]
    texts = told(Files(8 * HOUR_S), clock, *shifts)

    assert ["expires in 180 minutes" in texts[0], "expires in 60 minutes" in texts[1]] == [True, True]
    assert "has expired" in texts[2] and len(texts) == 3
    assert all("raftgossip keys renew" in text for text in texts)


def test_a_renewed_certificate_is_told_and_warned_of_anew() -> None:
    files, clock = Files(5 * HOUR_S), ShiftedClock()

    def renew() -> None:
        certificate = replace(files.now.certificate, not_after_s=files.now.not_after_s + HOUR_S / 2)
        files.now = replace(files.now, chain_pem=b"c2", certificate=certificate)
        files.has_changed = True

    texts = told(files, clock, renew)

    assert "expires in" in texts[0]
    assert texts[1] == f"{peer_identity(1).uri} shows its renewed certificate from now on"
    assert "expires in" in texts[2] and len(texts) == 3


def test_files_that_cannot_be_used_are_told_once_and_change_nothing() -> None:
    files = Files(24 * HOUR_S)

    def spoil() -> None:
        files.trouble, files.has_changed = "peer-1.pem is damaged", True

    texts = told(files, ShiftedClock(), spoil)

    assert len(texts) == 1 and "peer-1.pem is damaged" in texts[0] and "stay in force" in texts[0]
    assert files.live.current() is files.now
