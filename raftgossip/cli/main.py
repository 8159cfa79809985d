"""The command `raftgossip`: finds the command, and turns what it raises into one line and an exit code.

Exit codes: 0 good, 2 wrong use, 3 the cluster could not be reached, 130 interrupted, 1 everything else.
"""

from __future__ import annotations

import io
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from raftgossip._version import __version__
from raftgossip.cli.demo import demo
from raftgossip.cli.discover import discover
from raftgossip.cli.environment import silence_grpc
from raftgossip.cli.epochs import epochs
from raftgossip.cli.gateway import gateway
from raftgossip.cli.gateway_set import gateway_set
from raftgossip.cli.keys import keys
from raftgossip.cli.leader import leader
from raftgossip.cli.leave import leave
from raftgossip.cli.logs import logs
from raftgossip.cli.members import members
from raftgossip.cli.node import node
from raftgossip.cli.status import status
from raftgossip.errors import ClusterUnreachable, ConfigError, RaftGossipError
from raftgossip.observe.escape import printable

GOOD, FAILED, WRONG_USE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130

app = typer.Typer(name="raftgossip", pretty_exceptions_enable=False)
for command in (demo, node, gateway, status, epochs, logs, leave, discover, gateway_set):
    app.command()(command)
for group in (members, leader, keys):
    app.add_typer(group)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Errors are one line on standard error; `--debug` adds the traceback."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    if not debug:
        silence_grpc()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a foreign terminal must not end a training run
    try:
        outcome = app([each for each in arguments if each != "--debug"], prog_name="raftgossip", standalone_mode=False)
        return outcome if isinstance(outcome, int) else GOOD
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else GOOD
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the program's border
        if debug:
            traceback.print_exception(error)
        code, text = _explain(error)
        sys.stderr.write(f"raftgossip: {printable(' '.join(text.split()))}\n")
        return code


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and end.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; works after the command, too.")] = False,
) -> None:
    """Train one PyTorch model together with others, without any server.

    \b
    Example:
      raftgossip demo
      raftgossip gateway --host 0.0.0.0 --port 8090
      raftgossip node --task digits --node-id 1 --gateway gw:8090 --data-dir s1
      raftgossip status --node 10.0.0.7:7001
    """
    del debug  # main takes it out of the arguments, wherever it stands
    if version:
        sys.stdout.write(f"raftgossip {__version__}\n")
        raise typer.Exit
    if context.invoked_subcommand is None:
        sys.stdout.write(context.get_help() + "\n")


def _explain(error: Exception) -> tuple[int, str]:
    """The exit code, and the sentence that a person reads."""
    match error:
        case ConfigError():
            return WRONG_USE, str(error)
        case ClusterUnreachable():
            return UNREACHABLE, str(error)
        case RaftGossipError():
            return FAILED, str(error)
        case typer.Abort():
            return INTERRUPTED, "interrupted"
        case OSError(filename=str() as path):
            return FAILED, f"{path}: {error.strerror}"
    if hasattr(error, "format_message"):  # wrong arguments: typer's versions differ in where that class lives
        return WRONG_USE, f"{error.format_message()} (see --help)"
    return FAILED, f"internal error, {type(error).__name__}: {error}; --debug shows where"


if __name__ == "__main__":
    sys.exit(main())
