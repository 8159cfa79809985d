"""The settings of a running gateway: changed by its file or by an operator's call, as far as they may change.

Whoever spoke last counts: a file's new value replaces one that an operator set, and the other way round.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from gateway.settings import (
    RULES,
    GatewaySettings,
    file_stamp,
    live_texts,
    load_toml,
    nearest,
    setting_from_text,
)
from raftgossip.errors import ConfigError

MAX_CHANGES_A_CALL = 64
"""An operator's call may name so many settings; there are fewer."""


class LiveSettings:
    """Thread-safe. Invariant: what is not live never differs from what the gateway was started with."""

    def __init__(self, settings: GatewaySettings, path: Path | None) -> None:
        """`settings`: as the gateway starts, the file's values included. `path`: its file.

        Raises:
            ConfigError: the file is wrong.
        """
        self._lock = threading.Lock()
        self._current = settings
        self._path = path
        self._stamp = () if path is None else file_stamp(path)
        self._in_file = {} if path is None else load_toml(path)

    def current(self) -> GatewaySettings:
        """As they are now."""
        return self._current

    def texts(self) -> dict[str, str]:
        """Those that may change, as they are now."""
        return live_texts(self._current)

    def change(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Change some, all or none of them; returns those that are different now.

        Raises:
            ConfigError: a key is unknown or needs a restart, or a value is wrong; nothing changed.
        """
        if len(texts) > MAX_CHANGES_A_CALL:
            raise ConfigError(f"settings: {len(texts)} were given; at most {MAX_CHANGES_A_CALL} are allowed")
        values: dict[str, object] = {}
        for key, text in texts.items():
            if key not in RULES:
                raise ConfigError(f"unknown setting {key[:80]!r}{nearest(key[:80])}")
            if not RULES[key].is_live:
                raise ConfigError(
                    f"{key} cannot change while the gateway runs: restart it; these can: {', '.join(self.texts())}"
                )
            values[key] = setting_from_text(key, text)
        with self._lock:
            return self._take(values)

    def reread(self, *, even_if_unchanged: bool = False) -> tuple[dict[str, str], list[str]]:
        """Look at the file again: what is different now, and the changed keys that need a restart.

        Raises:
            ConfigError: the file is wrong; nothing changed, and it is not looked at again before it changes.
        """
        if self._path is None:
            return {}, []
        with self._lock:
            stamp = file_stamp(self._path)
            if stamp == self._stamp and not even_if_unchanged:
                return {}, []
            self._stamp = stamp
            before, after = self._in_file, load_toml(self._path)
            self._in_file = after
            defaults = GatewaySettings()
            keys = [key for key in RULES if before.get(key) != after.get(key)]
            values = {key: after.get(key, getattr(defaults, key)) for key in keys if RULES[key].is_live}
            fixed = [key for key in keys if not RULES[key].is_live]
            return self._take(values), fixed

    def _take(self, values: Mapping[str, object]) -> dict[str, str]:
        before = live_texts(self._current)
        self._current = replace(self._current, **values)  # type: ignore[arg-type]  # each was read by its rule
        return {key: text for key, text in live_texts(self._current).items() if before[key] != text}
