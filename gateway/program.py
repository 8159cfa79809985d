"""The gateway's command line: one flag per setting, made from the table of settings."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from gateway.settings import RULES, GatewaySettings, load_toml, make_settings, setting_from_text, text_of
from raftgossip.errors import ConfigError
from raftgossip.trust.files import DEFAULT_FOLDER, KeyFolder

DEFAULTS: Mapping[str, object] = {each.name: getattr(GatewaySettings(), each.name) for each in fields(GatewaySettings)}
WITHOUT_VALUE = frozenset({"insecure"})
HELP_WIDTH = 100


def flag_of(key: str) -> str:
    """A setting's flag."""
    return f"--{key.replace('_', '-')}"


def help_of(key: str) -> str:
    """What a setting is for, its default, and whether it can change while the gateway runs."""
    default, live = DEFAULTS[key], "; live" if RULES[key].is_live else ""
    if key == "keys":
        shown = f"{DEFAULT_FOLDER}, if it is there"
    elif key in WITHOUT_VALUE:
        return RULES[key].about
    else:
        shown = "none" if default is None or default == () else text_of(default)
    return f"{RULES[key].about} (default: {shown}{live})"


def read_arguments(argv: Sequence[str] | None) -> tuple[GatewaySettings, Path | None]:
    """The settings that the arguments and the file that they name stand for, and that file. Flags win over the file.

    Raises:
        ConfigError: a value is wrong, or the file.
        SystemExit: an argument is unknown, or help was asked for.
    """
    given = vars(_parser().parse_args(argv))
    path: str | None = given.pop("config")
    values: dict[str, object] = {} if path is None else load_toml(Path(path))
    if given.pop("new"):
        values["rebuild_grace"] = 0
    for key, text in given.items():
        if text is None or text is False:
            continue
        values[key] = text if text is True else setting_from_text(key, text)
    if "keys" not in values and not values.get("insecure") and KeyFolder(Path(DEFAULT_FOLDER)).exists():
        values["keys"] = Path(DEFAULT_FOLDER)
    if "keys" in values and values.get("insecure") and given["keys"] is not None:
        raise ConfigError("--keys and --insecure exclude each other")
    return make_settings(**values), None if path is None else Path(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gateway",
        description="Run a gateway: where newcomers ask for peers. Training goes on without it. Settings that are live "
        "follow the file of --config when it changes, and `raftgossip gateway-set`.",
        epilog="example: python -m gateway --host 0.0.0.0 --port 8090 --node-timeout 300",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=HELP_WIDTH),
        allow_abbrev=False,
    )
    for key in RULES:
        if key in WITHOUT_VALUE:
            parser.add_argument(flag_of(key), action="store_true", help=help_of(key))
        else:
            parser.add_argument(flag_of(key), metavar="VALUE", help=help_of(key).replace("%", "%%"))
    parser.add_argument("--new", action="store_true", help="there is no cluster yet: the same as --rebuild-grace 0")
    parser.add_argument("--config", metavar="FILE", help="TOML file with any of the settings; flags win over it")
    return parser
