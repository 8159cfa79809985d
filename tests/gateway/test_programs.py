"""The gateway's two programs: bad input, exit codes, and the ways in."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from gateway.grpc_gateway_client import GRPCGatewayClient
from gateway.grpc_gateway_server import GRPCGatewayServer
from tests.support.gateway_program import CLIENT, ROOT, SERVERS, GatewayProcess, run


@pytest.fixture
def server() -> Iterator[GRPCGatewayServer]:
    """A gateway on a free port."""
    gateway = GRPCGatewayServer(port=0)
    gateway.start()
    yield gateway
    gateway.stop()


@pytest.mark.slow
def test_the_server_program_warns_once_when_other_machines_can_reach_it() -> None:
    with GatewayProcess(SERVERS[1], "--host", "0.0.0.0") as process:
        _, errors = process.end(signal.SIGTERM)
    assert errors.count("OTHER MACHINES CAN REACH") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["--port", "high"],
        ["--port", "70000"],
        ["--max-workers", "0"],
        ["--node-timeout", "-1"],
        ["--heartbeat-interval", "nan"],
        ["--log-level", "loud"],
        ["--host", "no.such.host.invalid"],
        ["--unknown"],
    ],
)
def test_the_server_program_refuses_bad_values(arguments: list[str]) -> None:
    ended = run("-m", "gateway", *arguments)
    assert ended.returncode == 2 and ended.stdout == ""
    assert ("error:" in ended.stderr or ended.stderr.startswith("raftgossip: ")) and "Traceback" not in ended.stderr


@pytest.mark.slow
def test_the_server_program_names_a_port_in_use_in_one_line(server: GRPCGatewayServer) -> None:
    ended = run("-m", "gateway", "--port", str(server.port))
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1 and f"localhost:{server.port}" in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", [*SERVERS, CLIENT])
def test_help_shows_an_example(command: list[str]) -> None:
    ended = run(*command, "--help")
    assert ended.returncode == 0 and "example: python" in ended.stdout


@pytest.mark.slow
def test_the_client_programs_exit_code_tells_a_dead_gateway_from_a_refusal_and_wrong_use(
    server: GRPCGatewayServer,
) -> None:
    owner = GRPCGatewayClient("localhost", server.port)
    owner.register_node(1, "127.0.0.1", 6666)
    here = ("--gateway-port", str(server.port))
    outcomes = {
        3: run(*CLIENT, "--gateway-host", "127.0.0.1", "--gateway-port", "1", "--node-id", "1"),
        1: run(*CLIENT, *here, "--node-id", "1"),
        2: run(*CLIENT, *here, "--node-id", "0"),
    }
    owner.shutdown()
    for code, ended in outcomes.items():
        assert ended.returncode == code, ended.stderr
        assert ended.stderr.startswith("raftgossip: ") and ended.stderr.count("\n") == 1


@pytest.mark.slow
def test_the_names_can_be_imported_inside_the_folder_and_load_no_torch() -> None:
    program = (
        "import sys; from grpc_gateway_server import GRPCGatewayServer; "
        "from grpc_gateway_client import GRPCGatewayClient, GRPCGatewayDiscoveryMixin; "
        "s = GRPCGatewayServer(port=0); s.start(); c = GRPCGatewayClient('localhost', s.port); "
        "print(c.is_gateway_available(), 'torch' in sys.modules); c.shutdown(); s.stop()"
    )
    ended = run("-c", program, folder=ROOT / "gateway")
    assert ended.stdout == "True False\n", ended.stderr


@pytest.mark.slow
def test_importing_the_package_loads_neither_torch_nor_grpc() -> None:
    program = "import sys, gateway; print([name for name in ('torch', 'grpc', 'numpy') if name in sys.modules])"
    assert run("-c", program).stdout == "[]\n"
