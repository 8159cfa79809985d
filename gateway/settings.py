"""Every setting of a gateway, checked once, from keywords, texts or a TOML file; and which may change while it runs.

A wrong value is a `ConfigError` that names the key and what is allowed; an unknown key names the nearest known one.
The environment is not known here.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType

from raftgossip.errors import ConfigError
from raftgossip.ids import Address
from raftgossip.trust import DEFAULT_KEYS

GATEWAY_PORT = 8090
"""A gateway's address without a port means this one."""
SWITCHES = frozenset({"insecure"})
"""Settings whose flags take no value."""
MAX_SECONDS = 10_000_000  # no timer of any platform fails with it


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Settings of one gateway. Those marked *live* may change while it runs (`LiveSettings`).

    Raises:
        ConfigError: a value is of the wrong kind or out of its range; names the key.
    """

    host: str = "localhost"
    """The name or address to listen at; all addresses of a name are bound."""
    port: int = GATEWAY_PORT
    """0 picks a free one."""
    node_timeout: float = 300.0
    """*live* Seconds of silence after which a node is forgotten; half of it makes it suspected. At least three
    heartbeat intervals, or a lost packet drops healthy nodes; longer: newcomers dial the dead for longer."""
    heartbeat_interval: float = 30.0
    """*live* Seconds between heartbeats, as nodes are asked to send them. At most a third of `node_timeout`."""
    max_nodes: int = 20_000
    """*live* Registrations beyond this are refused. A record takes 2 kB, and 40 kB at the worst."""
    rebuild_grace: float = 5.0
    """*live* A gateway that starts without memory waits so many seconds for members of a running cluster before it
    names a node to found one. Longer than members need to come back; 0: there is no cluster yet, and nobody need
    wait."""
    gateways: tuple[str, ...] = ()
    """The other gateways, with which this one exchanges its list; each of them must name this one, too."""
    data_dir: Path | None = None
    """What must outlive a restart is kept there; without it the members of a cluster must bring it back."""
    keys: Path | None = None
    """The key folder: with it every caller must show a certificate of the federation. None: anybody may call."""
    name: str | None = None
    """Which of the folder's gateway certificates is this one's; needed only where there are several."""
    insecure: bool = False
    """Run without certificates though there is a key folder."""
    metrics_port: int | None = None
    """Where Prometheus finds /metrics, at the same host and with the same certificates; 0 picks a free one."""
    max_workers: int = 10
    """Threads that answer; more let more slow callers in at once."""
    max_calls: int = 1024
    """Calls that wait or run at once, of all callers together; more are refused at once."""
    max_calls_per_caller: int = 64
    """*live* Calls of one caller that run at once. Below the number of threads, so that nobody takes them all."""
    rate_per_s: float = 200.0
    """*live* Calls of one caller in a second, on and on; a node needs one in `heartbeat_interval` seconds."""
    burst: float = 400.0
    """*live* Calls of one caller at once after a pause."""
    max_watchers: int = 128
    """Callers that are told of every change; each takes a thread."""
    log_level: str = "INFO"
    """*live* What is told: DEBUG, INFO, WARNING or ERROR."""
    log_format: str = "text"
    """`text`: lines with key=value. `json`: one JSON object a line."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if _read(each.name, value) != value:
                raise _wrong(each.name, value)


@dataclass(frozen=True, slots=True)
class Rule:
    """How one setting is read from a value (TOML, keyword) or from a text (flag, operator's call)."""

    about: str
    """For `--help`."""
    allowed: str
    """Completes "it must be …"."""
    read: Callable[[object], object]
    """Raises `ValueError` if the value is not allowed."""
    from_text: Callable[[str], object] = str
    """The value that a text stands for; raises `ValueError` if there is none."""
    is_live: bool = False


def make_settings(**values: object) -> GatewaySettings:
    """Keywords -> GatewaySettings. A str for a path, a str or a sequence for `gateways`.

    Raises:
        ConfigError: an unknown keyword, or a value of the wrong kind or out of range; names the key.
    """
    checked: dict[str, object] = {}
    for key, value in values.items():
        if key not in RULES:
            raise ConfigError(f"unknown setting {key!r}{nearest(key)}")
        checked[key] = _read(key, value)
    return GatewaySettings(**checked)  # type: ignore[arg-type]  # each was read by the rule of its key


def load_toml(path: Path) -> dict[str, object]:
    """The settings in a file, read and checked.

    Raises:
        ConfigError: the file cannot be read, is no TOML, or has an unknown key or a wrong value; names file and key.
    """
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    values: dict[str, object] = {}
    for key, value in table.items():
        if key not in RULES:
            raise ConfigError(f"{path}: unknown key {key!r}{nearest(key)}")
        try:
            values[key] = _read(key, value)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None
    return values


def file_stamp(path: Path) -> tuple[int, ...]:
    """Tells cheaply whether a file is another than it was; empty: it cannot be seen."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino


def setting_from_text(key: str, text: str) -> object:
    """The value of a setting, from a text as a flag or an operator's call has it: `10`, `true`, `a:1,b:2`.

    Raises:
        ConfigError: the key is unknown, or the text does not stand for an allowed value; names key and allowed values.
    """
    rule = RULES.get(key)
    if rule is None:
        raise ConfigError(f"unknown setting {key!r}{nearest(key)}")
    try:
        value = rule.from_text(text)
    except (ValueError, OverflowError):
        raise _wrong(key, text) from None
    return _read(key, value)


def text_of(value: object) -> str:
    """A setting's value as `setting_from_text` reads it."""
    if isinstance(value, tuple):
        return ",".join(str(each) for each in value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) and abs(value) < 1e6 else str(value)


def live_texts(settings: GatewaySettings) -> dict[str, str]:
    """The settings that may change while the gateway runs, as texts."""
    return {key: text_of(getattr(settings, key)) for key, rule in RULES.items() if rule.is_live}


def flag_of(key: str) -> str:
    """A setting's flag on the command line."""
    return f"--{key.replace('_', '-')}"


def help_of(key: str) -> str:
    """What a setting is for, its default, and whether it can change while the gateway runs."""
    if key in SWITCHES:
        return RULES[key].about
    default, live = getattr(GatewaySettings(), key), "; live" if RULES[key].is_live else ""
    shown = "none" if default is None or default == () else text_of(default)
    if key == "keys":
        shown = f"{DEFAULT_KEYS}, if it is there"
    return f"{RULES[key].about} (default: {shown}{live})"


def nearest(key: str) -> str:
    """The end of a sentence about an unknown key: what was probably meant, or what is known."""
    close = difflib.get_close_matches(key.replace("-", "_"), RULES, n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else f"; known are {', '.join(sorted(RULES))}"


def _read(key: str, value: object) -> object:
    try:
        return RULES[key].read(value)
    except ValueError:
        raise _wrong(key, value) from None
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None


def _wrong(key: str, value: object) -> ConfigError:
    return ConfigError(f"{key} is {value!r}; it must be {RULES[key].allowed}")


# --- the rules, by kind


def _whole(about: str, least: int, most: int = 2**31 - 1, *, is_live: bool = False) -> Rule:
    def read(value: object) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError
        return value

    return Rule(about, f"a whole number from {least} to {most}", read, int, is_live)


def _number(about: str, least: float, most: float, unit: str = "") -> Rule:
    """A live number."""

    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise ValueError
        return value

    return Rule(about, f"a number{unit} from {least:g} to {most:,}", read, float, True)


def _text(about: str) -> Rule:
    def read(value: object) -> str:
        if not isinstance(value, str) or not value or not value.isprintable():
            raise ValueError
        return value

    return Rule(about, "a text in one line, not empty", read)


def _one_of(about: str, *words: str, is_live: bool = False) -> Rule:
    def read(value: object) -> str:
        found = next((word for word in words if isinstance(value, str) and word.lower() == value.lower()), None)
        if found is None:
            raise ValueError
        return found

    return Rule(about, ", ".join(words[:-1]) + f" or {words[-1]}", read, is_live=is_live)


def _switch(about: str) -> Rule:
    def read(value: object) -> bool:
        if type(value) is not bool:
            raise ValueError
        return value

    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

    def from_text(text: str) -> bool:
        if text.lower() not in words:
            raise ValueError
        return words[text.lower()]

    return Rule(about, "true or false", read, from_text)


def _path(about: str) -> Rule:
    def read(value: object) -> Path:
        if not isinstance(value, str | Path) or not str(value):
            raise ValueError
        return Path(value)

    return Rule(about, "the path of a directory", read)


def _addresses(about: str) -> Rule:
    def read(value: object) -> tuple[str, ...]:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
            raise ValueError
        return tuple(dict.fromkeys(str(Address.parse(each, GATEWAY_PORT)) for each in value))

    return Rule(about, "an address, host:port, or a list of them", read)


def _optional(rule: Rule) -> Rule:
    return Rule(rule.about, rule.allowed, lambda value: None if value is None else rule.read(value), rule.from_text)


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "host": _text("name or address to listen at"),
        "port": _whole("0 picks a free one", 0, 65535),
        "keys": _optional(_path("key folder: callers must show certificates")),
        "name": _optional(_text("which of its gateway certificates")),
        "insecure": _switch("no certificates, though there is a key folder"),
        "data_dir": _optional(_path("what must outlive a restart is kept there")),
        "gateways": _addresses("other gateways to exchange the list with, host:port,…"),
        "node_timeout": _number("seconds of silence that remove a node", 0.002, MAX_SECONDS, " of seconds"),
        "heartbeat_interval": _number(
            "seconds between heartbeats, as asked of the nodes", 0.001, MAX_SECONDS, " of seconds"
        ),
        "rebuild_grace": _number("seconds to wait for members after a start without memory", 0, 3600, " of seconds"),
        "max_nodes": _whole("nodes; more registrations are refused", 1, 10_000_000, is_live=True),
        "max_workers": _whole("threads that answer", 1, 1000),
        "max_watchers": _whole("callers that are told of every change", 0, 1000),
        "max_calls": _whole("calls of all callers at once", 1, 100_000),
        "max_calls_per_caller": _whole("calls of one caller at once", 1, 100_000, is_live=True),
        "rate_per_s": _number("calls of one caller in a second", 0.001, 1_000_000_000),
        "burst": _number("calls of one caller after a pause", 1, 1_000_000_000),
        "metrics_port": _optional(_whole("where Prometheus finds /metrics; 0 picks a free one", 0, 65535)),
        "log_level": _one_of("what is told", "DEBUG", "INFO", "WARNING", "ERROR", is_live=True),
        "log_format": _one_of("one line an event: key=value, or JSON", "text", "json"),
    }
)
"""Every key that a file may have, and how it is read; in the order of `--help`."""
