"""The gateway's command line: one flag per setting, made from the table of settings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from gateway.settings import (
    RULES,
    SWITCHES,
    GatewaySettings,
    flag_of,
    help_of,
    load_toml,
    make_settings,
    setting_from_text,
)
from raftgossip.trust import DEFAULT_KEYS
from raftgossip.trust.files import KeyFolder

HELP_WIDTH = 100


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
    if "keys" not in values and not values.get("insecure") and KeyFolder(Path(DEFAULT_KEYS)).exists():
        values["keys"] = Path(DEFAULT_KEYS)
    return make_settings(**values), None if path is None else Path(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gateway",
        description="Run a gateway: where newcomers ask for peers. Training goes on without it. Settings that are live "
        "follow the file of --config when it changes, and `raftgossip gateway-set`.",
        epilog="example: python -m gateway --host 0.0.0.0 --port 8090 --node-timeout 300",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=31, width=HELP_WIDTH),
        allow_abbrev=False,
    )
    for key in RULES:
        if key in SWITCHES:
            parser.add_argument(flag_of(key), action="store_true", help=help_of(key))
        else:
            parser.add_argument(flag_of(key), metavar="VALUE", help=help_of(key).replace("%", "%%"))
    parser.add_argument("--new", action="store_true", help="there is no cluster yet: the same as --rebuild-grace 0")
    parser.add_argument("--config", metavar="FILE", help="TOML file with any of the settings; flags win over it")
    return parser
