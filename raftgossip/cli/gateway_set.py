"""`raftgossip gateway-set`: settings of a gateway that runs."""

from __future__ import annotations

from typing import Annotated

import typer

from raftgossip.cli.options import GatewayOption, InsecureOption, JsonOption, KeysOption
from raftgossip.errors import ConfigError

SettingsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME=VALUE", help="Settings to change; none: show them.", show_default=False),
]


def gateway_set(
    gateway: GatewayOption,
    settings: SettingsArgument = None,
    keys: KeysOption = None,
    insecure: InsecureOption = False,
    as_json: JsonOption = False,
) -> None:
    """Change settings of a running gateway, or show those that can be changed. It takes an operator's certificate.

    What is changed so lasts until the gateway ends; its file or its command line say how it begins.

    \b
    Example:
      raftgossip gateway-set --gateway gw:8090
      raftgossip gateway-set node_timeout=60 --gateway gw:8090
    """
    from raftgossip.cli.dialling import own_credentials
    from raftgossip.cli.discovering import ask_gateway
    from raftgossip.cli.output import print_json, print_table
    from raftgossip.trust.identity import Role

    wanted = dict(_pair(each) for each in settings or ())
    credentials = own_credentials(keys, insecure, (Role.OPERATOR,))
    now = ask_gateway(gateway, credentials, lambda client: client.configure(wanted))
    if as_json:
        print_json({"settings": now, "changed": sorted(wanted)})
    else:
        rows = [(name, value, "changed" if name in wanted else "") for name, value in now.items()]
        print_table(("setting", "value", ""), rows)


def _pair(text: str) -> tuple[str, str]:
    """Name and value; hyphens may stand for underscores, as in flags.

    Raises:
        ConfigError: the text is no NAME=VALUE.
    """
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise ConfigError(f"{text!r} is no setting: give NAME=VALUE, e.g. node_timeout=60")
    return name.strip().replace("-", "_"), value.strip()
