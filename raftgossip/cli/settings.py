"""Where a node's settings come from: flags > environment > file > defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

from raftgossip.cli.environment import PREFIX
from raftgossip.errors import ConfigError
from raftgossip.peer.config import (
    COMMAND_RULES,
    HIDDEN,
    RULES,
    PeerConfig,
    load_toml,
    make_config,
    nearest,
    setting_from_text,
)

OTHER_VARIABLES = frozenset({"CONFIG", "NODE"})
"""Read elsewhere: the file's path, and the peer that the commands for operators ask."""
SERVICE_LINK = re.compile(r"(^|_)(SERVICE_HOST$|SERVICE_PORT($|_)|PORT$|PORT_\d+_)")
"""Container platforms put variables of this form into every process, named after services; they are not settings."""
COMMAND_DEFAULTS: Mapping[str, object] = {**dict.fromkeys(COMMAND_RULES), "log_format": "console", "log_level": "info"}


@dataclass(frozen=True, slots=True)
class Settings:
    """Values by key, for the keys that were given anywhere, and where each was given."""

    values: Mapping[str, object]
    origins: Mapping[str, str]

    def command(self, key: str) -> object:
        """A setting of the command itself, or its default."""
        return self.values.get(key, COMMAND_DEFAULTS[key])

    def peer_config(self, task_name: str) -> PeerConfig:
        """The settings of the peer.

        Raises:
            ConfigError: two values contradict each other.
        """
        own = {key: value for key, value in self.values.items() if key != "task" and key not in COMMAND_RULES}
        return make_config(task_name, **own)


def gather(flags: Mapping[str, object], environment: Mapping[str, str]) -> Settings:
    """Put the sources together. `flags`: by key, None where the flag was not given; `config` names the file.

    Raises:
        ConfigError: a value is wrong or a key unknown; names the source.
    """
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    path = flags.get("config") or environment.get("CONFIG")
    if path:
        for key, value in load_toml(Path(str(path))).items():
            values[key], origins[key] = value, f"file {path}"
    for name, text in sorted(environment.items()):
        key = name.lower()
        if name in OTHER_VARIABLES or SERVICE_LINK.search(name):
            continue
        if key not in RULES:
            raise ConfigError(f"unknown environment variable {PREFIX}{name}{nearest(name, map(str.upper, RULES))}")
        values[key], origins[key] = _from_text(key, text, f"environment {PREFIX}{name}"), f"environment {PREFIX}{name}"
    for key, value in flags.items():
        if value is not None and key in RULES:
            values[key], origins[key] = _from_flag(key, value), "flag"
    return Settings(values, origins)


def table(settings: Settings) -> list[tuple[str, object, str]]:
    """Every setting: key, value, and where it came from (`flag`, `environment …`, `file …`, `default`).

    Raises:
        ConfigError: two values contradict each other.
    """
    config = settings.peer_config(str(settings.values.get("task", "-")))
    rows: list[tuple[str, object, str]] = [
        ("task", settings.values.get("task"), settings.origins.get("task", "default")),
        *((key, settings.command(key), settings.origins.get(key, "default")) for key in COMMAND_RULES),
    ]
    for each in fields(PeerConfig):
        value, origin = getattr(config, each.name), settings.origins.get(each.name, "default")
        if each.name == "task":
            continue
        if RULES[each.name].is_secret and value:
            value = HIDDEN
        if is_dataclass(value):
            rows.extend(_table_rows(each.name, value, origin))
        else:
            rows.append((each.name, value, origin))
    return rows


def _table_rows(name: str, value: object, origin: str) -> list[tuple[str, object, str]]:
    """A nested table; what equals the default was not given, or might as well not have been."""
    assert is_dataclass(value)
    return [
        (f"{name}.{each.name}", getattr(value, each.name), _origin(each.default, getattr(value, each.name), origin))
        for each in fields(value)
    ]


def _origin(default: object, value: object, origin: str) -> str:
    return "default" if value == default else origin


def _from_text(key: str, text: str, source: str) -> object:
    try:
        return setting_from_text(key, text)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def _from_flag(key: str, value: object) -> object:
    """A flag that may be given several times arrives as a list, everything else as a value or a text."""
    if isinstance(value, list):
        value = ",".join(str(each) for each in value)
    return setting_from_text(key, str(value))
