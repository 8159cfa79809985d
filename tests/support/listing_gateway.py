"""A gateway with a list that a test edits: `WatchNodes`, which breaks at will, and `GetNodes` in pages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc

from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb

PATIENCE_S = 0.05
"""A stream that has nothing to say looks so often whether its caller is still there."""


class ListingGateway:
    """Each change makes one version; a watcher resumes from any that this gateway has seen."""

    def __init__(self, registry_id: str, address: str = "127.0.0.1:0") -> None:
        self.registry_id = registry_id
        self.max_page = 3
        self.resumed_from: list[int] = []
        """The `since_version` of each watcher that came."""
        self.cut_after: list[int] = []
        """The first stream breaks after so many events, the next after so many …; the rest stay open."""
        self._events: list[pb.NodeEvent] = []
        self._changed = threading.Condition()
        self._is_over = False
        self._num_cuts = 0
        self._threads = ThreadPoolExecutor(16)
        self._server = grpc.server(self._threads, options=(("grpc.so_reuseport", 0),))
        unary = grpc.unary_unary_rpc_method_handler
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "WatchNodes": grpc.unary_stream_rpc_method_handler(self._watch),
            "HealthCheck": unary(lambda _r, _c: pb.HealthCheckResponse(status="healthy").SerializeToString()),
            "GetNodes": unary(self._page),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("GatewayService", handlers),))
        self.port = self._server.add_insecure_port(address)
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self) -> ListingGateway:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        self._server.stop(0).wait()
        self._threads.shutdown()

    def change(self, kind: str, *node_ids: int) -> None:
        """Something happens to these nodes, one after another."""
        with self._changed:
            for node_id in node_ids:
                node = None if kind == "left" else pb.NodeInfo(node_id=node_id, ip_address="127.0.0.1", port=node_id)
                version = len(self._events) + 1
                self._events.append(
                    pb.NodeEvent(
                        kind=kind,
                        registry_version=version,
                        registry_id=self.registry_id,
                        node_id=node_id,
                        node=node,
                        term=3 if kind == "leader" else 0,
                    )
                )
            self._changed.notify_all()

    def cut(self) -> None:
        """Break the streams that are open."""
        with self._changed:
            self._num_cuts += 1
            self._changed.notify_all()

    def _watch(self, data: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        request = pb.WatchNodesRequest.FromString(data)
        with self._changed:
            self.resumed_from.append(request.since_version)
            limit = self.cut_after.pop(0) if self.cut_after else None
            num_cuts = self._num_cuts
        for num_told, event in enumerate(self._from(request, context, num_cuts)):
            if event is None or num_told == limit:
                context.abort(grpc.StatusCode.UNAVAILABLE, "the stream was cut")
            yield event.SerializeToString()
        context.abort(grpc.StatusCode.UNAVAILABLE, "the gateway stops")

    def _from(
        self, request: pb.WatchNodesRequest, context: grpc.ServicerContext, num_cuts: int
    ) -> Iterator[pb.NodeEvent | None]:
        """The events behind the request's version as they come; None: the stream is cut."""
        position = request.since_version
        if not position or request.registry_id != self.registry_id:
            position = 0
            yield pb.NodeEvent(kind="reset", registry_id=self.registry_id, registry_version=len(self._events))
        while context.is_active() and not self._is_over:
            with self._changed:
                if self._num_cuts > num_cuts:
                    break
                new = self._events[position:]
                if not new:
                    self._changed.wait(PATIENCE_S)
            yield from new
            position += len(new)
        if not self._is_over and context.is_active():
            yield None

    def _page(self, data: bytes, _context: grpc.ServicerContext) -> bytes:
        request = pb.GetNodesRequest.FromString(data)
        ids = sorted({event.node_id for event in self._events} - {request.requesting_node_id})
        rest = [node_id for node_id in ids if node_id > request.after_node_id]
        page = rest[: min(request.limit or self.max_page, self.max_page)]
        return pb.GetNodesResponse(
            nodes=[pb.NodeInfo(node_id=node_id) for node_id in page],
            registry_version=len(self._events),
            registry_id=self.registry_id,
            next_after_node_id=page[-1] if len(page) < len(rest) else 0,
            total_nodes=len(ids),
        ).SerializeToString()
