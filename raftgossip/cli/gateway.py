"""`raftgossip gateway`: where newcomers ask for peers."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class LogLevel(StrEnum):
    """What the gateway's own command line takes."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


HostOption = Annotated[str | None, typer.Option("--host", help="Name or address to listen at; default: localhost.")]
PortOption = Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Default: 8090; 0: any free one.")]
WorkersOption = Annotated[int | None, typer.Option("--max-workers", help="Threads that answer.")]
TimeoutOption = Annotated[
    float | None, typer.Option("--node-timeout", help="Seconds until a silent node is forgotten.")
]
HeartbeatOption = Annotated[float | None, typer.Option("--heartbeat-interval", help="Seconds, asked of the nodes.")]
LevelOption = Annotated[LogLevel | None, typer.Option("--log-level", case_sensitive=False, help="What it tells.")]


def gateway(
    host: HostOption = None,
    port: PortOption = None,
    max_workers: WorkersOption = None,
    node_timeout: TimeoutOption = None,
    heartbeat_interval: HeartbeatOption = None,
    log_level: LevelOption = None,
) -> None:
    """Run a gateway, where newcomers ask for peers, until it is stopped. Training goes on without it.

    \b
    Example:
      raftgossip gateway --host 0.0.0.0 --port 8090
    """
    flags = locals()
    from gateway.grpc_gateway_server import main

    given = [(f"--{name.replace('_', '-')}", str(value)) for name, value in flags.items() if value is not None]
    raise typer.Exit(main([part for pair in given for part in pair]))
