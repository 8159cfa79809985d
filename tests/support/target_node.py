"""A real peer process that trains `TargetTask`: `python -m tests.support.target_node '{"shard": 0, …}'`.

Prints the address that it listens on, and nothing else; SIGTERM stops it cleanly.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from raftgossip import Peer
from raftgossip.facts import Fact, Listening
from raftgossip.runtime import exchange
from raftgossip.update import FloatVector
from tests.support.target_task import TargetTask


def lie(lies: Sequence[str]) -> None:
    """Make this process send updates that are wrong, in every epoch in another way; everything else stays honest."""
    honest_chunks, honest_end, honest_header = exchange.chunks, exchange.encode_end, exchange.StepWork.header_to
    how = ""

    def chunks(span: FloatVector, chunk_bytes: int) -> Iterator[bytes]:
        for position, chunk in enumerate(honest_chunks(span, chunk_bytes)):
            match how if position == 0 else "":
                case "not finite":
                    yield np.array([np.nan], "<f4").tobytes() + chunk[4:]
                case "truncated":
                    yield chunk[:-4]
                case "oversized":
                    yield chunk + bytes(4)
                case _:
                    yield chunk

    def header_to(work: exchange.StepWork, edge: exchange.Edge) -> exchange.ExchangeHeader:
        nonlocal how
        how = lies[work.epoch % len(lies)]
        header = honest_header(work, edge)
        changes: dict[str, dict[str, int | bytes]] = {
            "more elements": {"stop": header.stop + 1, "byte_count": header.byte_count + 4},
            "other range": {"start": header.start + 1, "byte_count": header.byte_count - 4},
            "other schema": {"schema_digest": bytes(32)},
        }
        return replace(header, **changes.get(how, {}))  # type: ignore[arg-type]

    def encode_end(byte_count: int, content_hash: bytes) -> bytes:
        return honest_end(byte_count, bytes(32) if how == "other hash" else content_hash)

    exchange.chunks, exchange.encode_end = chunks, encode_end
    exchange.StepWork.header_to = header_to  # type: ignore[method-assign]


def main() -> None:
    """Run until stopped."""
    arguments = json.loads(sys.argv[1])
    if lies := arguments["task"].pop("lies", ()):
        lie(lies)
    peer = Peer(TargetTask(**arguments["task"]), **arguments["peer"])

    def on_fact(fact: Fact) -> None:
        if isinstance(fact, Listening):
            print(fact.address, flush=True)

    peer.subscribe(on_fact)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: peer.request_stop())
    peer.run()


if __name__ == "__main__":
    main()
