"""How fast the gateway answers, beside a bare gRPC server with an empty handler in the same run.

Figures: `gateway.heartbeats.mtls`, heartbeats per second over mutual TLS with every call authorised, 64 callers that
each have a certificate of their own (`gateway.heartbeats.mtls.c1`: one caller; `.p50_ms`, `.p99_ms`: with 64);
`gateway.registrations.open`, the same for registrations without TLS (`.c1`: one caller; `.p50_ms`, `.p99_ms`);
`gateway.register.flatness`, the rate of the last tenth of 10,000 registrations over that of the first;
`gateway.rss_mb.10k`, memory with 10,000 live nodes at the end of the time for which they were held, and
`gateway.false_expiries`, of nodes that sent a heartbeat every 10 s through that time; `gateway.abuse.honest_rate` and
`gateway.abuse.honest_p99`, an honest caller's rate and p99 while an abuser keeps 128 calls in flight over its own when
all is quiet, `gateway.abuse.refused`, the share of the abuser's calls that ended with RESOURCE_EXHAUSTED. The load is
made by other processes on the same machine; the limit per caller is lifted where the server's speed is measured, and
is the default where abuse is. Needs Linux (`/proc`).

Example: python benchmarks/gateway_load.py --json
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
from gateway_processes import UNLIMITED, bare_server, call, gateway, results_of, start_callers
from raft_figures import Figure, note, parser, show

from raftgossip.ids import Address
from raftgossip.runtime.clock import SystemClock
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Role
from raftgossip.wire.channels import open_channel
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.pb import grpc_comm_manager_pb2_grpc as pb_grpc

NUM_CALLERS = 64
NUM_NODES = 10_000
BEAT_S = 10.0
ABUSE_CALLS = 128
HONEST_RATE = 20.0
"""Heartbeats per second of the honest caller: hundreds of times what a node sends, and within what each may send."""
BARE = "bare gRPC server"
FEW_WORKERS = 3


def make_keys(folder: Path) -> Path:
    """A federation with a gateway and as many peers as there are callers."""
    keys, now_s = KeyFolder(folder / "keys"), SystemClock().wall_ms() / 1000
    keys.init("bench.example", "lab", now_s)
    keys.issue("lab", Role.GATEWAY, "gateway", now_s)
    for node_id in range(1, NUM_CALLERS + 1):
        keys.issue("lab", Role.PEER, str(node_id), now_s)
    return folder / "keys"


def heartbeats(keys: Path, seconds: float, num_pairs: int) -> Iterator[Figure]:
    """Closed loop, with one caller and with many. The bare server is the faster of one with as many threads as the
    gateway may have and one with few, which wait less for each other."""
    with (
        gateway(*UNLIMITED, keys=keys) as ours,
        bare_server(keys) as bare,
        bare_server(keys, FEW_WORKERS) as bare_with_few,
    ):
        call("register", ours.address, (1, NUM_CALLERS), keys, callers=8)
        for name, callers in (("gateway.heartbeats.mtls", NUM_CALLERS), ("gateway.heartbeats.mtls.c1", 1)):
            runs = []
            for _ in range(num_pairs):
                nodes = (1, callers)
                mine = call("closed", ours.address, nodes, keys, callers=callers, seconds=seconds)
                others = [
                    call("closed", each.address, nodes, keys, callers=callers, seconds=seconds)
                    for each in (bare, bare_with_few)
                ]
                theirs = max(others, key=lambda seen: float(seen["rate"]))
                _all_ok(mine)
                runs.append((mine, theirs))
            yield Figure.of_pairs(name, "per s", BARE, [(a["rate"], b["rate"]) for a, b in runs])
            if callers > 1:
                for each in ("p50_ms", "p99_ms"):
                    yield Figure.of_pairs(f"{name}.{each}", "ms", BARE, [(a[each], b[each]) for a, b in runs])


def registrations(num_nodes: int, num_pairs: int) -> Iterator[Figure]:
    """New nodes all the time; then the curve to 10,000."""
    for name, callers in (("gateway.registrations.open", NUM_CALLERS), ("gateway.registrations.open.c1", 1)):
        runs = []
        for _ in range(num_pairs):
            nodes = (1, num_nodes // (2 if callers > 1 else 10))
            with gateway(*UNLIMITED) as ours, bare_server() as bare:
                mine = call("register", ours.address, nodes, callers=callers)
                theirs = call("register", bare.address, nodes, callers=callers)
            _all_ok(mine)
            runs.append((mine, theirs))
        yield Figure.of_pairs(name, "per s", BARE, [(a["rate"], b["rate"]) for a, b in runs])
        if callers > 1:
            for each in ("p50_ms", "p99_ms"):
                yield Figure.of_pairs(f"{name}.{each}", "ms", BARE, [(a[each], b[each]) for a, b in runs])
    flatness = []
    for _ in range(num_pairs):
        with gateway(*UNLIMITED) as ours:
            tenths = results_of(
                start_callers("register", ours.address, (1, num_nodes), callers=NUM_CALLERS, tenths=True)
            )
        flatness.append((tenths[-1]["rate"], tenths[0]["rate"]))
    yield Figure.of_pairs("gateway.register.flatness", "per s, last tenth", "first tenth", flatness)


def held_nodes(num_nodes: int, seconds: float) -> Iterator[Figure]:
    """Many nodes that beat every 10 s, and whether all of them are still there in the end."""
    with gateway(*UNLIMITED, "--node-timeout", "30") as ours:
        before_mb = ours.rss_mb()
        call("register", ours.address, (1, num_nodes), callers=NUM_CALLERS)
        registered_mb = ours.rss_mb()
        seen = call("paced", ours.address, (1, num_nodes), rate=num_nodes / BEAT_S, seconds=seconds)
        stats = _stats(ours.address)
        note(
            f"rss {before_mb:.0f} MB empty, {registered_mb:.0f} MB registered; {seen['codes']}, "
            f"p99 {seen['p99_ms']:.1f} ms; {stats.active_nodes} of {stats.total_nodes} nodes active at the end"
        )
        yield Figure("gateway.rss_mb.10k", ours.rss_mb(), "MB")
        # Nobody registers again here, so whoever was forgotten is missing.
        yield Figure("gateway.false_expiries", num_nodes - stats.total_nodes, "nodes")


def abuse(keys: Path, seconds: float, num_pairs: int) -> Iterator[Figure]:
    """An honest caller, alone and beside an abuser, with the limits that a gateway has by default."""
    rates, tails, refused = [], [], []
    with gateway(keys=keys) as ours:
        call("register", ours.address, (1, 2), keys)
        for _ in range(num_pairs):
            quiet = call("paced", ours.address, (1, 1), keys, rate=HONEST_RATE, seconds=seconds)
            abuser = start_callers("closed", ours.address, (2, 2), keys, callers=ABUSE_CALLS, seconds=seconds + 4.0)
            time.sleep(2.0)  # it has started and used up what it had saved
            honest = call("paced", ours.address, (1, 1), keys, rate=HONEST_RATE, seconds=seconds)
            codes = results_of(abuser)[-1]["codes"]
            note(f"quiet {quiet}; beside the abuser {honest}; the abuser saw {codes}")
            rates.append((honest["rate"], quiet["rate"]))
            tails.append((honest["p99_ms"], quiet["p99_ms"]))
            refused.append(codes.get("RESOURCE_EXHAUSTED", 0) / sum(codes.values()))
    yield Figure.of_pairs("gateway.abuse.honest_rate", "per s", "quiet", rates)
    yield Figure.of_pairs("gateway.abuse.honest_p99", "ms", "quiet", tails)
    yield Figure("gateway.abuse.refused", sorted(refused)[len(refused) // 2], "of the abuser's calls")


def _stats(address: str) -> pb.GetStatsResponse:
    with open_channel(Address.parse(address), None, "") as channel:
        stub = pb_grpc.GatewayServiceStub(channel)
        answer: pb.GetStatsResponse = stub.GetStats(pb.GetStatsRequest(), timeout=5, wait_for_ready=False)
        return answer


def _all_ok(seen: dict[str, object]) -> None:
    codes = seen["codes"]
    assert isinstance(codes, dict)
    if set(codes) != {grpc.StatusCode.OK.name}:
        raise RuntimeError(f"calls failed: {codes}")


def measure(parts: list[str], *, quick: bool, hold_s: float) -> Iterator[Figure]:
    """All parts that were asked for."""
    seconds, num_pairs, num_nodes = (1.0, 1, 1_000) if quick else (5.0, 5, NUM_NODES)
    with tempfile.TemporaryDirectory() as folder:
        keys = make_keys(Path(folder))
        if "heartbeats" in parts:
            yield from heartbeats(keys, seconds, num_pairs)
        if "registrations" in parts:
            yield from registrations(num_nodes, num_pairs)
        if "abuse" in parts:
            yield from abuse(keys, 2 * seconds, num_pairs)
        if "hold" in parts:
            yield from held_nodes(num_nodes, 2.0 if quick else hold_s)


PARTS = ("heartbeats", "registrations", "abuse", "hold")


def main() -> int:
    """Measure and print."""
    options_of = parser(__doc__)
    options_of.add_argument("--hold-s", type=float, default=600.0, help="of holding the nodes; default: %(default)s")
    options_of.add_argument("--only", choices=PARTS, action="append", help="this part; may be given several times")
    options = options_of.parse_args()
    figures = measure(options.only or list(PARTS), quick=options.quick, hold_s=options.hold_s)
    show(figures, "The gateway under load", as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
