"""One node's registration at its gateways: asked for once, then kept alive, and repeated where it was forgotten."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from gateway.answers import HeartbeatDict, RegistrationDict, registration_to_dict
from gateway.grpc_connection import GatewayConnection
from raftgossip.errors import RaftGossipError
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb

logger = logging.getLogger(__name__)


class StandingRegistration:
    """What this node wants the gateways to know, and whether they know it; any number of threads may share it.

    Invariant: `is_valid` only while there is something that is wanted.
    """

    def __init__(self, connection: GatewayConnection, on_failure: Callable[[str], object]) -> None:
        """`on_failure`: called with the reason, each time that a registration fails, be it repeated."""
        self.is_valid = False
        """Whether a gateway has it, as far as this node knows."""
        self.answer: RegistrationDict | None = None
        """The answer to the last registration that was asked for, not to those that were repeated."""
        self.cluster_id = ""
        """The cluster that the node belongs to; empty: none yet. Heartbeats tell it."""
        self._connection = connection
        self._on_failure = on_failure
        self._request: pb.RegisterNodeRequest | None = None
        self._registry_id = ""
        self._lock = threading.Lock()

    @property
    def is_wanted(self) -> bool:
        """Whether the node asked to be registered, and did not leave since."""
        return self._request is not None

    def ask(self, request: pb.RegisterNodeRequest) -> RegistrationDict:
        """Register; from now on this is what is kept alive.

        Raises:
            RaftGossipError: it was refused, or no gateway answers. What was kept alive before still is.
        """
        request.cluster_id = self.cluster_id = request.cluster_id or self.cluster_id
        answer = self._send(request)
        with self._lock:
            self._request, self.answer, self.is_valid = request, answer, True
        return answer

    def renew(self) -> tuple[HeartbeatDict, RegistrationDict | None] | None:
        """Send a heartbeat, and register again where the node is not known or the gateway has another memory than the
        one that it registered in. Returns both answers, the second only if there was a need to register; None: there
        is nothing to keep alive.

        Raises:
            RaftGossipError: it was refused, or no gateway answers.
        """
        request = self._request
        if request is None:
            return None
        status = "not_found"
        # A node that is not registered must not send heartbeats: they would renew whoever has its id now.
        if self.is_valid:
            beat = pb.HeartbeatRequest(node_id=request.node_id, cluster_id=self.cluster_id)
            response: pb.HeartbeatResponse = self._connection.call(lambda stub, s: stub.Heartbeat(beat, timeout=s))
            status = response.status
            is_elsewhere = response.registry_id != self._registry_id
            if status != "not_found" and not is_elsewhere:
                return {
                    "status": status,
                    "registry_version": response.registry_version,
                    "registry_id": response.registry_id,
                }, None
            self.is_valid = False
            reason = "has forgotten it" if status == "not_found" else "is another one"
            logger.info("node %d registers again: the gateway %s", request.node_id, reason)
        answer = self._send(_in_cluster(request, self.cluster_id))
        with self._lock:
            self.is_valid = self._request is request
        return {
            "status": status,
            "registry_version": answer["registry_version"],
            "registry_id": answer["registry_id"],
        }, answer

    def forget(self) -> None:
        """Keep nothing alive any more."""
        with self._lock:
            self._request = None  # else the next heartbeat would bring the node back
            self.is_valid = False

    def _send(self, request: pb.RegisterNodeRequest) -> RegistrationDict:
        try:
            response: pb.RegisterNodeResponse = self._connection.call(
                lambda stub, s: stub.RegisterNode(request, timeout=s)
            )
        except RaftGossipError as error:
            self._on_failure(str(error))
            raise
        self._registry_id = response.registry_id
        return registration_to_dict(response)


def _in_cluster(request: pb.RegisterNodeRequest, cluster_id: str) -> pb.RegisterNodeRequest:
    again = pb.RegisterNodeRequest()
    again.CopyFrom(request)
    again.cluster_id = cluster_id
    return again
