"""`raftgossip gateway`: where newcomers ask for peers. Its flags are made from the gateway's own table of settings."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from gateway.settings import RULES, SWITCHES, flag_of, help_of

FROM_ENVIRONMENT = frozenset({"keys", "insecure"})
"""Settings that all commands of one machine share."""


def gateway(**flags: Any) -> None:
    """Run a gateway, where newcomers ask for peers, until it is stopped. Training goes on without it.

    Settings may also stand in a TOML file (node_timeout = 60); flags win over it. Those
    that are live follow the file when it changes, and `raftgossip gateway-set`.

    \b
    Example:
      raftgossip gateway --host 0.0.0.0 --port 8090
      raftgossip gateway --config gateway.toml --data-dir gw --keys raftgossip-keys
    """
    from gateway.grpc_gateway_server import main

    arguments: list[str] = []
    for key, value in flags.items():
        if value is True:
            arguments.append(flag_of(key))
        elif value is not None and value is not False:
            arguments += [flag_of(key), str(value)]
    raise typer.Exit(main(arguments))


def _parameters() -> list[inspect.Parameter]:
    """One for each setting, as typer reads them from a function's signature."""
    described = {key: help_of(key) for key in RULES}
    described["config"] = "TOML file with any of the settings; flags win over it"
    described["new"] = "there is no cluster yet: the same as --rebuild-grace 0"
    made: list[inspect.Parameter] = []
    for key, text in described.items():
        about = text[0].upper() + text[1:] + "."
        variable = f"RAFTGOSSIP_{key.upper()}" if key in FROM_ENVIRONMENT else None
        is_switch = key in SWITCHES or key == "new"
        metavar = None if is_switch else "FILE" if key == "config" else "VALUE"
        option = typer.Option(flag_of(key), metavar=metavar, envvar=variable, help=about, show_default=False)
        annotation: Any = Annotated[bool, option] if is_switch else Annotated[str | None, option]
        default = False if is_switch else None
        made.append(inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation))
    return made


_PARAMETERS = _parameters()
gateway.__signature__ = inspect.Signature(_PARAMETERS, return_annotation=None)  # type: ignore[attr-defined]
gateway.__annotations__ = {each.name: each.annotation for each in _PARAMETERS} | {"return": None}
