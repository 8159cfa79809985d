"""Addresses that stand in DNS or in a file: for `--discover`, and wherever a list of gateways may be given.

What a source names is a hint like any other. It is asked anew each time, so that a list may change while nodes run.
Nothing here dials. Also here: which addresses nobody ever dials.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from raftgossip.errors import ConfigError, DeadlineExceeded, TransportError
from raftgossip.ids import Address

LOOKUP_TIMEOUT_S = 5.0
"""For all questions to DNS that one answer of a source needs."""
MAX_ADDRESSES = 256
"""A source that names more is cut short: a node needs one peer that is up."""
MAX_FILE_BYTES = 256 * 1024
CLUSTER_DOMAIN = "cluster.local"
"""What Kubernetes names end with unless its administrator says otherwise."""
ALLOWED = (
    "dns:NAME:PORT, srv:_SERVICE._PROTO.NAME, k8s:SERVICE.NAMESPACE:PORT (or k8s:SERVICE.NAMESPACE.svc.DOMAIN:PORT) "
    "or file:PATH"
)


class AddressSource(Protocol):
    """Something that names addresses."""

    @property
    def name(self) -> str:
        """For messages to people, e.g. `dns:peers.example.org:7001`."""

    async def addresses(self) -> tuple[Address, ...]:
        """What it names now, the preferred first.

        Raises:
            TransportError: it cannot be asked, or names nothing.
        """


class Lookup(Protocol):
    """Whom names are asked of. Both raise `TransportError` where there is no answer."""

    async def hosts(self, host: str, port: int) -> tuple[Address, ...]:
        """All IP addresses of a host, each with the port."""

    async def services(self, name: str) -> tuple[Address, ...]:
        """The hosts and ports of a service (SRV), by priority, the heavier first among equals.

        RFC 2782 wants equals drawn by lot. Here the order is fixed: all of them are tried in turn anyway.
        """


# --- what is never dialled


def refusal_to_dial(address: Address) -> str:
    """Why nobody dials this address, whoever names it; empty: it may be dialled.

    A hint must not make a node call what only its own machine can reach: link-local addresses answer with the
    credentials of cloud machines. Names are let through here; what they stand for is seen where they are looked up.
    """
    ip = _ip_of(address.host)
    if ip is None:
        return ""
    if ip.is_link_local:
        return "link-local addresses are never dialled: some lead to the credentials of a machine"
    if ip.is_unspecified:
        return "it names no machine"
    if ip.is_multicast or ip == ipaddress.IPv4Address("255.255.255.255"):
        return "it names no single machine"
    return ""


def _ip_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that a host is another spelling of; None: it is a name."""
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))  # also 0xa9fe0001, 169.254.1, 2851995649
        except (OSError, ValueError, UnicodeError):
            return None
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        return inner or ip
    return ip


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


# --- whom names are asked of


class SystemLookup:
    """As this machine does it; services by the name servers that it is configured with."""

    async def hosts(self, host: str, port: int) -> tuple[Address, ...]:
        """All IP addresses of a host, in the order of the system's preference."""
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except TimeoutError:
            raise DeadlineExceeded(f"no answer in {LOOKUP_TIMEOUT_S:g} s for the addresses of {host}") from None
        except (OSError, UnicodeError) as error:
            raise TransportError(f"{host} has no address: {error}") from None
        return tuple(dict.fromkeys(Address(str(place[0]), port) for *_, place in found))

    async def services(self, name: str) -> tuple[Address, ...]:
        """The hosts and ports of a service."""
        return await _services(name, None)


class ServerLookup:
    """One name server is asked for everything."""

    def __init__(self, server: Address) -> None:
        """`server`: by IP address."""
        self._server = server

    async def hosts(self, host: str, port: int) -> tuple[Address, ...]:
        """All IP addresses of a host, IPv4 first."""
        texts = [str(each) for kind in ("A", "AAAA") for each in await _ask(host, kind, self._server)]
        if not texts:
            raise TransportError(f"{host} has no address")
        return tuple(dict.fromkeys(Address(text, port) for text in texts))

    async def services(self, name: str) -> tuple[Address, ...]:
        """The hosts and ports of a service."""
        return await _services(name, self._server)


async def _services(name: str, server: Address | None) -> tuple[Address, ...]:
    records = [(each.priority, -each.weight, str(each.target), each.port) for each in await _ask(name, "SRV", server)]
    found = [
        Address(target.rstrip("."), port)
        for _, _, target, port in sorted(records)
        if target != "." and port  # RFC 2782: a single dot says that the service is not offered
    ]
    if not found:
        raise TransportError(f"{name} names no host that offers the service")
    return tuple(found)


async def _ask(name: str, kind: str, server: Address | None) -> list[_Record]:
    """The records of this kind; none: the name has other ones only.

    Raises:
        DeadlineExceeded: no name server answered in time.
        TransportError: there is no such name, or no server that knows.
    """
    # Only who gives a service's name needs the library.
    import dns.asyncresolver
    import dns.exception
    import dns.resolver

    try:
        resolver = dns.asyncresolver.Resolver(configure=server is None)
        if server is not None:
            resolver.nameservers, resolver.port = [server.host], server.port
        answer = await resolver.resolve(name, kind, lifetime=LOOKUP_TIMEOUT_S, raise_on_no_answer=False)
    except dns.exception.Timeout:
        raise DeadlineExceeded(f"no answer in {LOOKUP_TIMEOUT_S:g} s for {kind} of {name}") from None
    except (dns.exception.DNSException, OSError) as error:
        raise TransportError(f"{kind} of {name} cannot be asked for: {error}") from None
    return list(answer)


class _Record(Protocol):
    """An SRV record as far as it is used; the other kinds are used as texts."""

    priority: int
    weight: int
    port: int
    target: object


# --- sources


@dataclass(frozen=True, slots=True)
class FixedSource:
    """Addresses that the operator gave one by one."""

    given: tuple[Address, ...]

    @property
    def name(self) -> str:
        """For messages to people."""
        return "the listed peers " + ", ".join(map(str, self.given))

    async def addresses(self) -> tuple[Address, ...]:
        """What was given."""
        return _usable(self.name, self.given)


@dataclass(frozen=True, slots=True)
class HostSource:
    """All addresses of one host. A host with a single one keeps its name: gRPC then asks for it anew at every dial."""

    name: str
    address: Address
    lookup: Lookup

    async def addresses(self) -> tuple[Address, ...]:
        """One per IP address that the host has now."""
        if _ip_of(self.address.host) is not None:
            return _usable(self.name, (self.address,))
        found = _usable(self.name, await self.lookup.hosts(self.address.host, self.address.port))
        # What another name server says, gRPC cannot ask for.
        return (self.address,) if len(found) == 1 and isinstance(self.lookup, SystemLookup) else found


@dataclass(frozen=True, slots=True)
class ServiceSource:
    """The hosts of a service that stands in DNS as SRV records, each with all its addresses."""

    name: str
    service: str
    lookup: Lookup

    async def addresses(self) -> tuple[Address, ...]:
        """By priority; a host that has no address is left out unless none has one."""
        found: list[Address] = []
        problem = TransportError(f"{self.name} names nobody")
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                for place in await self.lookup.services(self.service):
                    try:
                        found.extend(await self.lookup.hosts(place.host, place.port))
                    except TransportError as error:
                        problem = error
        except TimeoutError:
            problem = DeadlineExceeded(f"no answer in {LOOKUP_TIMEOUT_S:g} s for the hosts of {self.name}")
        if not found:
            raise problem
        return _usable(self.name, found)


class FileSource:
    """Addresses in a text file, one host:port a line, or in a JSON list of such texts. `#` begins a comment.

    It is read again for every answer. A mistake that is made while nodes run costs what is wrong, and is told once.
    """

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        """`tell`: what people should hear.

        Raises:
            ConfigError: the file cannot be read, or something in it is no address; names file and line.
        """
        self._path = path
        self._tell = tell
        self._told: tuple[str, ...] = ()
        self._last, mistakes = _read_listing(path)
        if mistakes:
            raise ConfigError(mistakes[0])

    @property
    def name(self) -> str:
        """For messages to people."""
        return f"file:{self._path}"

    async def addresses(self) -> tuple[Address, ...]:
        """What stands there now; what stood there last, where nothing of it can be read any more."""
        try:
            found, mistakes = await asyncio.to_thread(_read_listing, self._path)
        except ConfigError as error:
            found, mistakes = (), (str(error),)
        if mistakes and mistakes != self._told:
            self._tell(f"{mistakes[0]}; what stood there before counts, as far as that cannot be read")
        self._told = mistakes
        if found or not mistakes:
            self._last = found
        return _usable(self.name, self._last)


def _usable(name: str, found: Sequence[Address]) -> tuple[Address, ...]:
    """Those that may be dialled, each once.

    Raises:
        TransportError: there are none; says why.
    """
    usable = tuple(dict.fromkeys(address for address in found if not refusal_to_dial(address)))[:MAX_ADDRESSES]
    if not usable:
        reasons = [f"{address}: {refusal_to_dial(address)}" for address in found[:1]] or ["nothing stands there"]
        raise TransportError(f"{name} names nobody who can be dialled ({reasons[0]})")
    return usable


_JSON_LIST = re.compile(r"\s*\[\s*[\"\]]")
"""How a JSON list of texts begins; a line with an IPv6 address begins otherwise."""


def _read_listing(path: Path) -> tuple[tuple[Address, ...], tuple[str, ...]]:
    """The addresses in a file, and sentences about what is none.

    Raises:
        ConfigError: it cannot be read at all.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        text = data.decode()
    except OSError as error:
        raise ConfigError(f"cannot read the addresses in {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no text; give one host:port a line, or a JSON list of them") from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{path} has more than {MAX_FILE_BYTES} bytes")
    if _JSON_LIST.match(text):
        return _read_json(path, text)
    found, mistakes = [], []
    for number, line in enumerate(text.splitlines(), start=1):
        entry = line.partition("#")[0].strip()
        try:
            found += [Address.parse(entry)] if entry else []
        except ConfigError as error:
            mistakes.append(f"{path}, line {number}: {error}")
    return tuple(found), tuple(mistakes)


def _read_json(path: Path, text: str) -> tuple[tuple[Address, ...], tuple[str, ...]]:
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        return (), (f"{path}, line {error.lineno}: not JSON: {error.msg}",)
    except RecursionError:
        return (), (f"{path}, line 1: not a list of texts",)
    found, mistakes = [], []
    for number, entry in enumerate(entries, start=1):
        try:
            found.append(Address.parse(entry if isinstance(entry, str) else repr(entry)))
        except ConfigError as error:
            line = _line_of(text, number)
            mistakes.append(f"{path}, line {line}: entry {number}: {error}")
    return tuple(found), tuple(mistakes)


def _line_of(text: str, number: int) -> int:
    """The line at which the list's entry `number`, from 1 on, begins."""
    decoder = json.JSONDecoder()
    position = text.index("[") + 1
    for count in range(1, number + 1):
        while text[position] in " \t\r\n,":
            position += 1
        if count < number:
            _, position = decoder.raw_decode(text, position)
    return text.count("\n", 0, position) + 1


# --- texts


def parse_source(text: str, tell: Callable[[str], None], lookup: Lookup = SystemLookup()) -> AddressSource:
    """The source of peers that a text names, one of `ALLOWED`. `tell`: what people should hear while nodes run.

    Raises:
        ConfigError: the text names none, or a file that is wrong; says what is allowed.
    """
    return _parse(text, tell, lookup, None)


def gateway_source(
    text: str, default_port: int, tell: Callable[[str], None], lookup: Lookup = SystemLookup()
) -> AddressSource:
    """The same for gateways, which may also be given as host, host:port or IP address, each with all its addresses.

    Raises:
        ConfigError: as `parse_source`.
    """
    if text.partition(":")[0] in _KINDS:
        return _parse(text, tell, lookup, default_port)
    address = Address.parse(text, default_port=default_port)
    return HostSource(str(address), address, lookup)


_KINDS = ("dns", "srv", "k8s", "file")


def _parse(text: str, tell: Callable[[str], None], lookup: Lookup, default_port: int | None) -> AddressSource:
    kind, has_kind, rest = text.partition(":")
    try:
        match kind if has_kind and rest else "":
            case "dns":
                return HostSource(text, Address.parse(rest, default_port), lookup)
            case "srv" if all(label.startswith("_") for label in rest.split(".")[:2]) and rest.count(".") > 1:
                return ServiceSource(text, rest, lookup)
            case "k8s":
                return HostSource(text, _kubernetes_address(rest, default_port), lookup)
            case "file":
                return FileSource(Path(rest), tell)
    except ConfigError as error:
        raise ConfigError(f"{text!r} names no source of addresses: {error}") from None
    raise ConfigError(f"{text!r} names no source of addresses; give {ALLOWED}")


def _kubernetes_address(text: str, default_port: int | None) -> Address:
    """The full name of a headless service; with a dot behind it, so that no search list is gone through."""
    address = Address.parse(text, default_port)
    service, _, rest = address.host.rstrip(".").partition(".")
    namespace, _, domain = rest.partition(".")
    if not service or not namespace or (domain and not domain.startswith("svc.")):
        raise ConfigError("give k8s:SERVICE.NAMESPACE:PORT or k8s:SERVICE.NAMESPACE.svc.DOMAIN:PORT")
    return Address(f"{service}.{namespace}.{domain or 'svc.' + CLUSTER_DOMAIN}.", address.port)
