"""As whom a client speaks to gateways: as the node that it registers, or before that as anybody who may look."""

from __future__ import annotations

import logging
import threading
from os import PathLike
from pathlib import Path

from gateway.clock import monotonic_seconds
from raftgossip.errors import ConfigError
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Role

Keys = str | PathLike[str] | LiveCredentials | None
"""A key folder's path, or credentials that were read already; None: gateways are spoken to in the open."""

READERS = (Role.OPERATOR, Role.OBSERVER, Role.PEER)
"""Who may look; the first of them that the folder has a certificate for speaks."""
REFRESH_S = 2.0
"""Files that changed are read again by the first call so long after the last look."""

logger = logging.getLogger(__name__)


class ClientKeys:
    """Finds the credentials and keeps them fresh; any number of threads may share it."""

    def __init__(self, keys: Keys) -> None:
        """Certificates are looked for when one is needed first.

        Raises:
            ConfigError: a path was given, and no keys are there. A client never falls back to the open by itself.
        """
        self._folder: KeyFolder | None = None
        self._credentials: LiveCredentials | None = None
        self._node_id: int | None = None
        self._lock = threading.Lock()
        self._refreshed_s = monotonic_seconds()
        self._complaint = ""
        """What was last wrong with the files; it is said once."""
        if isinstance(keys, LiveCredentials):
            self._credentials = keys
        elif keys is not None:
            self._folder = KeyFolder(Path(keys))
            if not self._folder.exists():
                raise ConfigError(
                    f"{self._folder.path} is no key folder, it has no federation.pem: give another path, make keys "
                    "with `raftgossip keys init`, or give none to speak in the open"
                )

    def speak_for(self, node_id: int) -> None:
        """From now on speak as this node. Credentials that were given as such stay.

        Raises:
            ConfigError: the folder has no certificate of this peer.
        """
        with self._lock:
            if self._folder is not None and node_id != self._node_id:
                self._credentials = self._folder.credentials(Role.PEER, str(node_id))
                self._node_id = node_id

    def current(self) -> LiveCredentials | None:
        """What to show now; None: nothing.

        Raises:
            ConfigError: the folder has no certificate of anybody who may look.
        """
        with self._lock:
            if self._credentials is None:
                self._credentials = None if self._folder is None else self._folder.any_of(READERS)
            credentials = self._credentials
            now_s = monotonic_seconds()
            is_due = credentials is not None and now_s - self._refreshed_s >= REFRESH_S
            if is_due:
                self._refreshed_s = now_s
        if is_due and credentials is not None:
            self._refresh(credentials)
        return credentials

    def _refresh(self, credentials: LiveCredentials) -> None:
        complaint = ""
        try:
            credentials.refresh()
        except ConfigError as error:
            complaint = str(error)
            if complaint != self._complaint:
                logger.warning("the keys changed and cannot be used; going on with those from before: %s", error)
        self._complaint = complaint
