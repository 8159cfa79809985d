"""PeerConfig: every setting of one node, checked once, from keywords, texts or a TOML file.

A wrong value is a `ConfigError` that names the key and what is allowed; an unknown key names the nearest known one.
The environment and the arguments of the command line are not known here.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType

from raftgossip.core.epoch.config import EpochConfig
from raftgossip.core.raft.config import RaftConfig
from raftgossip.errors import ConfigError
from raftgossip.ids import MAX_NODE_ID, Address

GATEWAY_PORT = 8090
"""A gateway's address without a port means this one."""
MAX_WHOLE = 2**31 - 1
HIDDEN = "(hidden)"
"""Shown instead of a secret."""
MAX_TOKEN = 8_192
"""Characters of a join token, which carries the certificate of its organisation."""
SOURCES = ("dns:", "srv:", "k8s:", "file:")
"""How a source of addresses begins; the rest is read by `runtime.address_sources`."""
MAX_METADATA = (32, 64, 1024)
"""Entries, characters of a key, characters of a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConfig:
    """Settings of one node. Those marked *run* count only at the founder, who writes them into the ledger.

    Raises:
        ConfigError: a value is of the wrong kind, out of its range or contradicts another; names the key.
    """

    task: str
    """The task's name: nodes with different ones refuse each other, so that only like models are averaged."""
    algorithm: str = "fedavg"
    """*run* `fedavg`: every epoch ends with the exact sample-weighted mean. `dpsgd`: each peer averages with neighbours
    only, which costs fewer bytes and leaves the models slightly apart."""
    topology: str = "base"
    """*run* Who exchanges with whom. `base`: exact for any number of peers, one neighbour a step. `exponential`: exact
    for powers of two. `full`: one step, most bytes. `ring`: fewest bytes, approximate."""
    num_epochs: int = 50
    """*run* The run is finished when so many epochs are closed; 0: it goes on until stopped. 20 to 200 are usual."""
    min_participants: int = 2
    """*run* Fewer living peers: no epoch opens. Higher: no epoch without nearly everybody, and more waiting. At most
    the number of peers; sane: a majority of them."""
    seed: int = 0
    """*run* Every other seed derives from it: same seed, data and participants, same training."""
    local_passes: int = 1
    """*run* Passes over the local data per epoch. More: fewer bytes per progress, but the peers drift apart between two
    exchanges; 1 to 5."""
    train_deadline_ms: int = 60_000
    """*run* From an epoch's opening: who has not finished training is dropped from it. At least twice the slowest
    peer's training time; longer: a hanging peer holds up everybody for so long."""
    exchange_deadline_ms: int = 30_000
    """*run* For each exchange: who has not reported by then is dropped. At least twice what model size over the slowest
    link takes, times the steps of the topology."""
    min_epoch_ms: int = 0
    """*run* An epoch opens no sooner than this after the last one opened; 0: at once. Longer: less load, slower run."""
    max_attempts: int = 5
    """*run* An exchange is repeated so often among the survivors before its epoch fails; at least the number of peers
    that may die within one epoch, plus one."""
    require_token: bool = False
    """*run* A node that was never in the roster, and for which no operator kept a place with `members add`, enters only
    with a join token of its organisation. Costs a command for each newcomer; needs certificates."""
    node_id: int | None = None
    """1 to 2,147,483,647, unique in the cluster. None: the one that `data_dir` remembers."""
    data_dir: Path | None = None
    """Where vote, log and models outlive a restart. None: in memory; such a node is a stranger after a restart, so give
    one for everything but experiments."""
    listen: str = "127.0.0.1:0"
    """host:port to accept calls on; port 0: any free one. The default serves one machine only; 0.0.0.0 needs
    `advertise`."""
    advertise: str | None = None
    """host or host:port that others dial, where it differs from `listen` (containers, NAT). None: `listen` itself."""
    gateway: tuple[str, ...] = ()
    """Gateways, host or host:port (8090), or sources of them as in `discover`; only newcomers need them."""
    peers: tuple[str, ...] = ()
    """host:port of peers to ask, instead of or beside gateways; one that is up is enough."""
    discover: tuple[str, ...] = ()
    """Further sources of peers to ask: `dns:NAME:PORT`, `srv:_SERVICE._PROTO.NAME`, `k8s:SERVICE.NAMESPACE:PORT` or
    `file:PATH`. Each is asked anew when it is needed, so what it names may change while nodes run."""
    keys: Path | None = None
    """Folder with this node's certificate, `raftgossip keys` makes it: who has one speaks TLS, and only with nodes and
    people of the same federation. None: `raftgossip-keys` in the working directory, if it exists, else no TLS."""
    insecure: bool = False
    """No TLS, whatever `keys` says: anybody who reaches the port may do anything. For one machine and closed networks;
    equal on all nodes."""
    join_token: str = field(default="", repr=False)
    """What `raftgossip keys token` printed for this node, valid for minutes and once: needed to enter a run with
    `require_token` for the first time, and not read afterwards. Never shown or logged."""
    found: bool = False
    """Found a new cluster without asking anybody; exactly one node may. A node with state never founds again. With
    certificates this or `expect` is needed: a gateway's word founds nothing there."""
    expect: int | None = None
    """With a gateway: found when so many nodes without a cluster are there, this one counted; the smallest id does.
    Safer than `found` in scripts that start all nodes alike. Give it to all that start a cluster, as their number: with
    less, a lying gateway may show each half to itself. With certificates only nodes count that answered over TLS. None:
    in the open the gateway names the founder, with certificates nobody does."""
    keep_models: int = 2
    """Models of so many newest closed epochs stay on disk, for peers that come late; each costs the model's size."""
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Shown to everybody in `members`: site, contact …; at most 32 entries. No secrets. `organisation` counts: voters
    are chosen one per organisation where possible."""
    gateway_heartbeat_ms: int = 30_000
    """Registration is renewed so often; at most a third of the gateway's time limit (300 s by default)."""
    exit_when_finished: bool = False
    """End when the run is finished, for scripts; else the node stays, to serve its model to late peers."""
    raft: RaftConfig = field(default_factory=RaftConfig)
    """Timeouts of elections and heartbeats; equal on all nodes. Longer ones for links slower than 50 ms."""
    epoch: EpochConfig = field(default_factory=EpochConfig)
    """How this node coordinates when it leads."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if _read(each.name, value) != value:
                raise _wrong(each.name, value)
        if self.insecure and (self.require_token or self.join_token):
            raise ConfigError("insecure excludes join tokens: without certificates nobody can verify one")
        if self.found and self.expect is not None:
            raise ConfigError("found and expect exclude each other: found at once, or when so many nodes are there")
        if self.expect is not None and not self.gateway:
            raise ConfigError("expect needs a gateway: it counts the nodes that are registered there")


@dataclass(frozen=True, slots=True)
class Rule:
    """How one setting is read from a value (TOML, keyword) or from a text (environment, flag)."""

    allowed: str
    """Completes "it must be …"."""
    read: Callable[[object], object]
    """Raises `ValueError` if the value is not allowed."""
    from_text: Callable[[str], object] = str
    """The value that a text stands for; raises `ValueError` if there is none."""
    is_secret: bool = False
    """Its value stands in no message."""


def make_config(task_name: str, **settings: object) -> PeerConfig:
    """Keywords -> PeerConfig. A str or a sequence for `gateway` and `peers`, a str for `data_dir`, tables for the rest.

    Raises:
        ConfigError: an unknown keyword, or a value of the wrong kind or out of range; names the key.
    """
    known = {each.name for each in fields(PeerConfig)} - {"task"}
    values: dict[str, object] = {}
    for key, value in settings.items():
        if key not in known:
            raise ConfigError(f"unknown setting {key!r}{nearest(key, known)}")
        values[key] = _read(key, value)
    return PeerConfig(task=task_name, **values)  # type: ignore[arg-type]  # each was read by the rule of its key


def load_toml(path: Path) -> dict[str, object]:
    """The settings in a file, read and checked: keywords of `make_config`, `task` and the keys of `COMMAND_RULES`.

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
    known = RULES.keys()
    values: dict[str, object] = {}
    for key, value in table.items():
        if key not in known:
            raise ConfigError(f"{path}: unknown key {key!r}{nearest(key, known)}")
        try:
            values[key] = _read(key, value)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None
    return values


def setting_from_text(key: str, text: str) -> object:
    """The value of a known setting, from a text as the environment holds it: `10`, `true`, `a:1,b:2`, `site=Basel`.

    Raises:
        ConfigError: the text does not stand for an allowed value; names key and allowed values.
    """
    try:
        value = RULES[key].from_text(text)
    except ValueError:
        raise _wrong(key, text) from None
    return _read(key, value)


def nearest(key: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown key: what was probably meant, or what is known."""
    names, last = sorted(known), key.rpartition(".")[2]
    tables = {"raft": RaftConfig, "epoch": EpochConfig}
    for name in names:
        if name in tables and any(each.name == last for each in fields(tables[name])):
            return f"; did you mean {last} in the table [{name}]?"
    close = difflib.get_close_matches(key.replace("-", "_"), names, n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else f"; known are {', '.join(names)}"


def _read(key: str, value: object) -> object:
    try:
        return RULES[key].read(value)
    except ValueError:
        raise _wrong(key, value) from None
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None


def _wrong(key: str, value: object) -> ConfigError:
    shown = HIDDEN if RULES[key].is_secret else repr(value)
    return ConfigError(f"{key} is {shown}; it must be {RULES[key].allowed}")


# --- the rules, by kind


def _whole(least: int, most: int = MAX_WHOLE) -> Rule:
    def read(value: object) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError
        return value

    return Rule(f"a whole number from {least} to {most}", read, int)


def _text() -> Rule:
    def read(value: object) -> str:
        if not isinstance(value, str) or not value or not value.isprintable():
            raise ValueError
        return value

    return Rule("a text in one line, not empty", read)


def _switch() -> Rule:
    def read(value: object) -> bool:
        if type(value) is not bool:
            raise ValueError
        return value

    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

    def from_text(text: str) -> bool:
        if text.lower() not in words:
            raise ValueError
        return words[text.lower()]

    return Rule("true or false", read, from_text)


def _optional(rule: Rule) -> Rule:
    return Rule(rule.allowed, lambda value: None if value is None else rule.read(value), rule.from_text)


def _token() -> Rule:
    def read(value: object) -> str:
        if not isinstance(value, str) or len(value) > MAX_TOKEN or any(not "!" <= each <= "~" for each in value):
            raise ValueError
        return value

    return Rule("the one line that `raftgossip keys token` printed", read, str.strip, is_secret=True)


def _address(default_port: int | None) -> Rule:
    def read(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError
        Address.parse(value, default_port)
        return value

    return Rule("an address, host:port", read)


def _source() -> Rule:
    def read(value: object) -> str:
        if not isinstance(value, str) or not value.isprintable():
            raise ValueError
        if not any(value.startswith(kind) and value != kind for kind in SOURCES):
            raise ValueError
        return value

    return Rule("a source of addresses: dns:NAME:PORT, srv:NAME, k8s:SERVICE.NAMESPACE:PORT or file:PATH", read)


def _either(one: Rule, other: Rule, is_other: Callable[[object], bool]) -> Rule:
    def read(value: object) -> object:
        return (other if is_other(value) else one).read(value)

    return Rule(f"{one.allowed}, or {other.allowed}", read)


def _is_source(value: object) -> bool:
    return isinstance(value, str) and value.startswith(SOURCES)


def _list_of(one: Rule) -> Rule:
    def read(value: object) -> tuple[str, ...]:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if not isinstance(value, list | tuple):
            raise ValueError
        return tuple(dict.fromkeys(str(one.read(each)) for each in value))

    return Rule(f"{one.allowed}, or a list of them", read)


def _path() -> Rule:
    def read(value: object) -> Path:
        if not isinstance(value, str | Path) or not str(value):
            raise ValueError
        return Path(value)

    return Rule("the path of a directory", read)


def _labels() -> Rule:
    max_entries, max_key, max_value = MAX_METADATA

    def read(value: object) -> Mapping[str, str]:
        if not isinstance(value, Mapping) or len(value) > max_entries:
            raise ValueError
        for key, text in value.items():
            if not isinstance(key, str) or not isinstance(text, str):
                raise ValueError
            if not 0 < len(key) <= max_key or len(text) > max_value or not (key + text).isprintable():
                raise ValueError
        return MappingProxyType(dict(value))

    def from_text(text: str) -> dict[str, str]:
        pairs = [part.partition("=") for part in text.split(",")]
        if not all(separator for _, separator, _ in pairs):
            raise ValueError
        return {key.strip(): value.strip() for key, _, value in pairs}

    return Rule(f"at most {max_entries} pairs of texts, name = value", read, from_text)


def _table(kind: type[RaftConfig] | type[EpochConfig]) -> Rule:
    number = _whole(0)  # whether 0 is allowed, the table itself knows for each of its keys
    known = {each.name for each in fields(kind)}

    def read(value: object) -> object:
        if isinstance(value, kind):
            return value
        if not isinstance(value, Mapping):
            raise ValueError
        for key, entry in value.items():
            if key not in known:
                raise ConfigError(f"unknown key {key!r}{nearest(str(key), known)}")
            try:
                number.read(entry)
            except ValueError:
                raise ConfigError(f"{key} is {entry!r}; it must be {number.allowed}") from None
        return kind(**value)

    def from_text(text: str) -> object:
        return {key: int(value) for key, _, value in (part.partition("=") for part in text.split(","))}

    return Rule("a table of whole numbers, name = value", read, from_text)


COMMAND_RULES: Mapping[str, Rule] = {
    "shard": _optional(_whole(0)),
    "num_shards": _optional(_whole(1)),
    "partition": _optional(_text()),
    "data_seed": _optional(_whole(0)),
    "log_format": _text(),
    "log_level": _text(),
}
"""What only the command `node` needs: this node's part of the task's data, and its log. No fields of a `PeerConfig`."""

RULES: Mapping[str, Rule] = {
    "task": _text(),
    "algorithm": _text(),
    "topology": _text(),
    "num_epochs": _whole(0),
    "min_participants": _whole(1),
    "seed": _whole(0),
    "local_passes": _whole(1),
    "train_deadline_ms": _whole(1),
    "exchange_deadline_ms": _whole(1),
    "min_epoch_ms": _whole(0),
    "max_attempts": _whole(1),
    "require_token": _switch(),
    "node_id": _optional(_whole(1, MAX_NODE_ID)),
    "data_dir": _optional(_path()),
    "listen": _text(),
    "advertise": _optional(_address(default_port=1)),
    "gateway": _list_of(_either(_address(GATEWAY_PORT), _source(), _is_source)),
    "peers": _list_of(_address(None)),
    "discover": _list_of(_source()),
    "keys": _optional(_path()),
    "insecure": _switch(),
    "join_token": _token(),
    "found": _switch(),
    "expect": _optional(_whole(1)),
    "keep_models": _whole(1),
    "metadata": _labels(),
    "gateway_heartbeat_ms": _whole(1),
    "exit_when_finished": _switch(),
    "raft": _table(RaftConfig),
    "epoch": _table(EpochConfig),
    **COMMAND_RULES,
}
"""Every key that a file or the environment may have, and how it is read."""
