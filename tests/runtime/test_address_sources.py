"""Addresses from DNS and files: what they name, in which order, what is refused, and what a mistake costs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftgossip.errors import ConfigError, DeadlineExceeded, TransportError
from raftgossip.ids import Address
from raftgossip.runtime import address_sources
from raftgossip.runtime.address_sources import (
    AddressSource,
    FixedSource,
    ServerLookup,
    SystemLookup,
    gateway_source,
    parse_source,
    refusal_to_dial,
)
from tests.support.dns_server import DnsServer


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with DnsServer() as server:
        yield server


def names(source: AddressSource) -> list[str]:
    """What it names now."""
    return [str(address) for address in asyncio.run(source.addresses())]


def parse(text: str, dns: DnsServer) -> AddressSource:
    return parse_source(text, pytest.fail, ServerLookup(dns.address))


# --- DNS


def test_a_name_stands_for_all_its_addresses(dns: DnsServer) -> None:
    dns.records = {("peers.test", "A"): ["10.0.0.2", "10.0.0.1"], ("peers.test", "AAAA"): ["2001:db8::1"]}

    assert sorted(names(parse("dns:peers.test:7001", dns))) == ["10.0.0.1:7001", "10.0.0.2:7001", "[2001:db8::1]:7001"]


def test_a_name_is_asked_for_anew_each_time(dns: DnsServer) -> None:
    source = parse("dns:peers.test:7001", dns)
    dns.records = {("peers.test", "A"): ["10.0.0.1"]}
    assert names(source) == ["10.0.0.1:7001"]

    dns.records = {("peers.test", "A"): ["10.0.0.9"]}

    assert names(source) == ["10.0.0.9:7001"]


def test_services_come_by_priority_and_then_by_weight_each_with_all_its_addresses(dns: DnsServer) -> None:
    dns.records = {
        ("_raftgossip._tcp.test", "SRV"): [
            "20 9 7003 last.test.",
            "10 1 7002 light.test.",
            "10 5 7001 heavy.test.",
        ],
        ("heavy.test", "A"): ["10.0.0.1"],
        ("light.test", "AAAA"): ["2001:db8::2"],
        ("last.test", "A"): ["10.0.0.3"],
    }

    found = names(parse("srv:_raftgossip._tcp.test", dns))

    assert found == ["10.0.0.1:7001", "[2001:db8::2]:7002", "10.0.0.3:7003"]


def test_a_host_of_a_service_that_has_no_address_is_left_out(dns: DnsServer) -> None:
    dns.records = {
        ("_p._tcp.test", "SRV"): ["1 1 7001 gone.test.", "2 1 7002 here.test."],
        ("here.test", "A"): ["10.0.0.2"],
    }

    assert names(parse("srv:_p._tcp.test", dns)) == ["10.0.0.2:7002"]


def test_a_service_that_is_not_offered_names_nobody(dns: DnsServer) -> None:
    dns.records = {("_p._tcp.test", "SRV"): ["0 0 0 ."]}

    with pytest.raises(TransportError, match="no host that offers"):
        names(parse("srv:_p._tcp.test", dns))


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("k8s:raft.ml:7001", "raft.ml.svc.cluster.local"),
        ("k8s:raft.ml.svc.my.domain:7001", "raft.ml.svc.my.domain"),
    ],
)
def test_a_headless_service_is_asked_for_by_its_full_name(dns: DnsServer, text: str, asked: str) -> None:
    dns.records = {(asked, "A"): ["10.1.0.1", "10.1.0.2"]}

    assert sorted(names(parse(text, dns))) == ["10.1.0.1:7001", "10.1.0.2:7001"]


def test_a_name_that_does_not_exist_is_no_answer_but_no_mistake(dns: DnsServer) -> None:
    with pytest.raises(TransportError, match=r"peers\.test"):
        names(parse("dns:peers.test:7001", dns))


def test_a_silent_name_server_is_given_up(dns: DnsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address_sources, "LOOKUP_TIMEOUT_S", 0.2)
    dns.is_silent = True

    with pytest.raises(DeadlineExceeded):
        names(parse("srv:_p._tcp.test", dns))
    assert dns.num_questions > 0


def test_link_local_addresses_behind_a_name_are_left_out(dns: DnsServer) -> None:
    dns.records = {("peers.test", "A"): ["169.254.169.254", "10.0.0.1"]}
    assert names(parse("dns:peers.test:80", dns)) == ["10.0.0.1:80"]

    dns.records = {("peers.test", "A"): ["169.254.169.254"]}
    with pytest.raises(TransportError, match="never dialled"):
        names(parse("dns:peers.test:80", dns))


def test_this_machine_looks_up_its_own_name() -> None:
    assert names(parse_source("dns:localhost:7001", pytest.fail)) in (
        ["localhost:7001"],  # a single address keeps its name
        ["[::1]:7001", "127.0.0.1:7001"],
        ["127.0.0.1:7001", "[::1]:7001"],
    )


def test_a_name_without_an_address_is_told_from_this_machine() -> None:
    with pytest.raises(TransportError, match="no address"):
        asyncio.run(SystemLookup().hosts("no-such-name.invalid", 1))


# --- gateways


def test_gateways_are_addresses_or_sources_with_a_port_of_their_own(dns: DnsServer) -> None:
    dns.records = {
        ("gw.test", "A"): ["10.0.0.1", "10.0.0.2"],
        ("_raftgossip-gateway._tcp.test", "SRV"): ["1 1 9000 gw.test."],
    }
    lookup = ServerLookup(dns.address)

    def found(text: str) -> list[str]:
        return sorted(names(gateway_source(text, 8090, pytest.fail, lookup)))

    assert found("gw.test") == ["10.0.0.1:8090", "10.0.0.2:8090"]
    assert found("dns:gw.test:81") == ["10.0.0.1:81", "10.0.0.2:81"]
    assert found("srv:_raftgossip-gateway._tcp.test") == ["10.0.0.1:9000", "10.0.0.2:9000"]
    assert found("10.0.0.7") == ["10.0.0.7:8090"]
    assert found("[2001:db8::7]:1") == ["[2001:db8::7]:1"]


# --- files


def test_a_file_names_one_address_a_line_and_may_have_comments(tmp_path: Path) -> None:
    path = tmp_path / "peers.txt"
    path.write_text("# ours\n10.0.0.1:7001\n\n  host.example:7002  # the big one\n[::1]:7003\n10.0.0.1:7001\n")

    assert names(parse_source(f"file:{path}", pytest.fail)) == ["10.0.0.1:7001", "host.example:7002", "[::1]:7003"]


def test_a_file_may_be_a_json_list(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    path.write_text(json.dumps(["10.0.0.1:7001", "[::1]:7003"], indent=2))

    assert names(parse_source(f"file:{path}", pytest.fail)) == ["10.0.0.1:7001", "[::1]:7003"]


def test_a_file_that_begins_with_an_ipv6_address_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "peers.txt"
    path.write_text("[::1]:7003\n")

    assert names(parse_source(f"file:{path}", pytest.fail)) == ["[::1]:7003"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"10.0.0.1:7001\nhost\n", 2),
        (b"10.0.0.1:99999\n", 1),
        (b'[\n "a:1",\n "b"\n]', 3),
        (b'["a:1",\n 7]', 2),
        (b'["a:1",\n', 2),
        (b"[10.0.0.1:7001]\n", 1),
    ],
)
def test_a_mistake_in_the_file_names_file_and_line_at_the_start(tmp_path: Path, content: bytes, line: int) -> None:
    path = tmp_path / "peers"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=rf"{path}, line {line}:"):
        parse_source(f"file:{path}", pytest.fail)


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"#" * (address_sources.MAX_FILE_BYTES + 1)])
def test_a_file_that_cannot_be_read_is_named_at_the_start(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "peers"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError, match=str(path)):
        parse_source(f"file:{path}", pytest.fail)


def test_a_later_mistake_is_told_once_and_costs_only_its_line(tmp_path: Path) -> None:
    path, told = tmp_path / "peers", list[str]()
    path.write_text("10.0.0.1:7001\n")
    source = parse_source(f"file:{path}", told.append)

    path.write_text("10.0.0.2:7001\nnonsense\n")
    assert names(source) == names(source) == ["10.0.0.2:7001"]

    assert len(told) == 1 and f"{path}, line 2" in told[0]


def test_a_file_that_vanishes_leaves_what_stood_there(tmp_path: Path) -> None:
    path, told = tmp_path / "peers", list[str]()
    path.write_text("10.0.0.1:7001\n")
    source = parse_source(f"file:{path}", told.append)

    path.unlink()
    assert names(source) == ["10.0.0.1:7001"]
    assert len(told) == 1 and "cannot read" in told[0]

    path.write_text("10.0.0.3:7001\n")
    assert names(source) == ["10.0.0.3:7001"]


def test_an_empty_file_names_nobody_until_somebody_stands_there(tmp_path: Path) -> None:
    path = tmp_path / "peers"
    path.write_text("# nobody yet\n")
    source = parse_source(f"file:{path}", pytest.fail)
    with pytest.raises(TransportError, match="nothing stands there"):
        names(source)

    path.write_text("10.0.0.1:7001\n")

    assert names(source) == ["10.0.0.1:7001"]


def test_a_folder_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        parse_source(f"file:{tmp_path}", pytest.fail)


# --- texts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "peers.test:7001",
        "dns:",
        "dns:peers.test",
        "dns:peers.test:0",
        "srv:peers.test",
        "srv:_p._tcp",
        "k8s:raft:7001",
        "k8s:raft.ml",
        "k8s:raft.ml.pod.domain:7001",
        "file:",
        "http://peers.test:80",
    ],
)
def test_a_text_that_names_no_source_is_refused_and_told_what_may_stand_there(text: str) -> None:
    with pytest.raises(ConfigError, match="names no source of addresses"):
        parse_source(text, pytest.fail)


def test_a_list_cut_short_has_the_limit(dns: DnsServer) -> None:
    many = tuple(Address("10.0.0.1", port) for port in range(1, 400))

    assert len(names(FixedSource(many))) == address_sources.MAX_ADDRESSES


# --- what is never dialled


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.0.1",
        "169.254.43518",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "fe80::1",
        "fe80::1%eth0",
        "febf::1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "0.0.0.0",
        "0",
        "::",
        "::ffff:0.0.0.0",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
    ],
)
def test_addresses_of_the_own_link_and_of_nobody_are_refused_with_a_reason(host: str) -> None:
    assert refusal_to_dial(Address(host, 80))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "localhost", "10.0.0.1", "192.168.1.1", "169.255.0.1", "fd00::1", "gw.example", "fe80"]
)
def test_other_addresses_may_be_dialled(host: str) -> None:
    assert refusal_to_dial(Address(host, 80)) == ""
