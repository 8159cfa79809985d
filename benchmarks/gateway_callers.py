"""The other side of the gateway benchmarks: a bare server to compare with, and callers, each a process of its own.

Run by the benchmarks, not by people: `bare` serves an empty handler for every method of the gateway, on the same gRPC
stack and with the same options of TLS; `call` lets callers call for a while and prints what they saw as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio
from raft_figures import percentile

from raftgossip.ids import Address
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Role, role_server_name
from raftgossip.wire.channels import open_aio_channel, open_port
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb

CALL_TIMEOUT_S = 10.0
# Channels that gRPC would otherwise fold into one connection.
CHANNEL_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)


@dataclass(slots=True)
class Seen:
    """What callers saw in one stretch of time."""

    latencies_ms: list[float] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)

    def as_json(self, seconds: float) -> str:
        """Rates of what was answered with OK, per second."""
        answered = self.codes["OK"]
        latencies = self.latencies_ms or [0.0]
        return json.dumps(
            {
                "rate": answered / seconds,
                "p50_ms": percentile(latencies, 0.5),
                "p99_ms": percentile(latencies, 0.99),
                "codes": dict(self.codes),
            }
        )


def serve_bare(keys: Path | None, num_workers: int) -> None:
    """Serve an empty handler, until killed; prints the port."""
    credentials = None if keys is None else KeyFolder(keys).credentials(Role.GATEWAY, None)
    server = grpc.server(ThreadPoolExecutor(num_workers), options=(("grpc.so_reuseport", 0),))
    empty = grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")
    handlers = dict.fromkeys(("Heartbeat", "RegisterNode"), empty)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("GatewayService", handlers),))
    port = open_port(server, "127.0.0.1:0", credentials)
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


def request_for(method: str, node_id: int) -> bytes:
    """What a node sends."""
    if method == "Heartbeat":
        return pb.HeartbeatRequest(node_id=node_id).SerializeToString()
    return pb.RegisterNodeRequest(
        node_id=node_id,
        ip_address=f"10.{node_id >> 16 & 255}.{node_id >> 8 & 255}.{node_id & 255}",
        port=7000,
        capabilities=["raft", "gossip"],
        metadata={"owner": f"secret-{node_id}", "site": "somewhere"},
    ).SerializeToString()


class Channels:
    """One connection per node with certificates, for each may call only for itself; else one in all."""

    def __init__(self, address: Address, keys: Path | None) -> None:
        self._address = address
        self._folder = None if keys is None else KeyFolder(keys)
        self._channels: dict[int, grpc.aio.Channel] = {}

    def of(self, node_id: int) -> grpc.aio.Channel:
        """The connection of a node."""
        key = 0 if self._folder is None else node_id
        if key not in self._channels:
            credentials: LiveCredentials | None = None
            name = ""
            if self._folder is not None:
                credentials = self._folder.credentials(Role.PEER, str(node_id))
                name = role_server_name(Role.GATEWAY, credentials.current().identity.federation)
            self._channels[key] = open_aio_channel(self._address, credentials, name, CHANNEL_OPTIONS)
        return self._channels[key]

    async def close(self) -> None:
        """Close all."""
        for channel in self._channels.values():
            await channel.close()


async def call_once(channel: grpc.aio.Channel, method: str, request: bytes, seen: Seen) -> bytes:
    """One call, its code and its time noted; the answer, empty if there was none."""
    started_s, answer = time.perf_counter(), b""
    try:
        answer = await channel.unary_unary(f"/GatewayService/{method}")(request, timeout=CALL_TIMEOUT_S)
        code = "OK"
    except grpc.aio.AioRpcError as error:
        code = error.code().name
    seen.codes[code] += 1
    if code == "OK":
        seen.latencies_ms.append(1000 * (time.perf_counter() - started_s))
    return bytes(answer)


async def register(channels: Channels, first: int, last: int, num_callers: int, seen: Seen) -> None:
    """Each node of a range once, by so many callers."""
    nodes = iter(range(first, last + 1))

    async def caller() -> None:
        for node_id in nodes:
            await call_once(channels.of(node_id), "RegisterNode", request_for("RegisterNode", node_id), seen)

    async with asyncio.TaskGroup() as group:
        for _ in range(num_callers):
            group.create_task(caller())


async def beat_closed(channels: Channels, nodes: list[int], num_callers: int, seconds: float, seen: Seen) -> None:
    """Heartbeats, each caller's next one as soon as the last was answered or refused."""
    end_s = time.perf_counter() + seconds

    async def caller(node_id: int) -> None:
        channel, request = channels.of(node_id), request_for("Heartbeat", node_id)
        while time.perf_counter() < end_s:
            await call_once(channel, "Heartbeat", request, seen)

    async with asyncio.TaskGroup() as group:
        for number in range(num_callers):
            group.create_task(caller(nodes[number % len(nodes)]))


async def beat_paced(channels: Channels, nodes: list[int], rate: float, seconds: float, seen: Seen) -> None:
    """Heartbeats at a fixed rate in all, node after node, whether or not the earlier ones were answered."""
    start_s = time.perf_counter()
    order = random.Random(1).sample(nodes, len(nodes))
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            wait_s = start_s + number / rate - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            node_id = order[number % len(order)]
            group.create_task(call_once(channels.of(node_id), "Heartbeat", request_for("Heartbeat", node_id), seen))


async def live(channels: Channels, nodes: list[int], rate: float, seconds: float, seen: Seen) -> None:
    """`beat_paced` by nodes that register again when the gateway has forgotten them, as ours do."""

    async def beat(node_id: int) -> None:
        channel = channels.of(node_id)
        answer = await call_once(channel, "Heartbeat", request_for("Heartbeat", node_id), seen)
        if answer and pb.HeartbeatResponse.FromString(answer).status == "not_found":
            await call_once(channel, "RegisterNode", request_for("RegisterNode", node_id), seen)

    start_s = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            wait_s = start_s + number / rate - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            group.create_task(beat(nodes[number % len(nodes)]))


async def run(options: argparse.Namespace) -> None:
    """Do what the options say; prints one JSON object, or with --tenths one for each tenth of the range."""
    channels = Channels(Address.parse(options.address), options.keys)
    first, last = options.nodes
    nodes = list(range(first, last + 1))
    seen, started_s = Seen(), time.perf_counter()
    if options.what == "register":
        step = max(1, len(nodes) // (10 if options.tenths else 1))
        for start in range(first, last + 1, step):
            seen, started_s = Seen(), time.perf_counter()
            await register(channels, start, min(start + step - 1, last), options.callers, seen)
            print(seen.as_json(time.perf_counter() - started_s), flush=True)
    else:
        for node_id in nodes[:64] if options.keys is not None else ():  # handshakes are not what is measured
            await call_once(channels.of(node_id), "Heartbeat", request_for("Heartbeat", node_id), Seen())
        started_s = time.perf_counter()
        if options.what == "closed":
            await beat_closed(channels, nodes, options.callers, options.seconds, seen)
        elif options.what == "live":
            await live(channels, nodes, options.rate, options.seconds, seen)
        else:
            await beat_paced(channels, nodes, options.rate, options.seconds, seen)
        print(seen.as_json(time.perf_counter() - started_s), flush=True)
    await channels.close()


def main() -> int:
    """Serve or call."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("what", choices=("bare", "register", "closed", "paced", "live"))
    made.add_argument("--address", default="")
    made.add_argument("--keys", type=Path)
    made.add_argument("--nodes", type=int, nargs=2, default=(1, 1))
    made.add_argument("--callers", type=int, default=1)
    made.add_argument("--rate", type=float, default=1.0)
    made.add_argument("--seconds", type=float, default=3.0)
    made.add_argument("--workers", type=int, default=10)
    made.add_argument("--tenths", action="store_true")
    options = made.parse_args()
    if options.what == "bare":
        serve_bare(options.keys, options.workers)
    else:
        asyncio.run(run(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
