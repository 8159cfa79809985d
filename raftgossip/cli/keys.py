"""`raftgossip keys`: who belongs to a federation, as the certificates in a folder say it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from raftgossip.cli.keys_elsewhere import accept, request, sign
from raftgossip.cli.keys_options import (
    DaysOption,
    FolderOption,
    JsonOption,
    NamesArgument,
    OrganisationOption,
    RoleOption,
    organisation_of,
    then_run,
)
from raftgossip.cli.keys_revoke import revoke
from raftgossip.cli.keys_show import show, token
from raftgossip.errors import ConfigError
from raftgossip.trust import DEFAULT_KEYS
from raftgossip.trust.identity import Role

DEFAULT_FEDERATION = "raftgossip"
DEFAULT_ORGANISATION = "main"
NEXT_ISSUED = ("gateway --role gateway", "1 2 3", "me --role operator")

keys = typer.Typer(name="keys")


@keys.callback(invoke_without_command=True)
def overview(context: typer.Context) -> None:
    """Make, renew and revoke the certificates with which gateway, peers and operators prove who they are.

    \b
    Example:
      raftgossip keys init hearts.example
      raftgossip keys issue gateway --role gateway
      raftgossip keys issue 1 2 3
      raftgossip keys show
    """
    if context.invoked_subcommand is None:
        sys.stdout.write(context.get_help() + "\n")


@keys.command()
def init(
    federation: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Of the federation; default: raftgossip.", show_default=False),
    ] = None,
    organisation: Annotated[
        str | None, typer.Option("--organisation", metavar="ORG", help="Its first organisation; default: main.")
    ] = None,
    folder: FolderOption = DEFAULT_KEYS,
    as_json: JsonOption = False,
) -> None:
    """Make a federation and its first organisation, or add an organisation to the federation in the folder.

    An organisation certifies its own nodes and people, and nobody else's.

    \b
    Example:
      raftgossip keys init
      raftgossip keys init hearts.example --organisation basel
      raftgossip keys init --organisation zurich
    """
    from raftgossip.cli.keys_view import say
    from raftgossip.cli.output import print_json, print_table
    from raftgossip.runtime.clock import SystemClock
    from raftgossip.trust.files import KeyFolder

    made, now_s = KeyFolder(Path(folder)), SystemClock().wall_ms() / 1000
    first = not made.exists()
    if first:
        organisation = organisation or DEFAULT_ORGANISATION
        made.init(federation or DEFAULT_FEDERATION, organisation, now_s)
    elif organisation is None or federation not in (None, made.federation):
        raise ConfigError(
            f"{folder} holds the federation {made.federation} already: add an organisation to it with --organisation, "
            "or give another --keys"
        )
    else:
        made.add_organisation(organisation, now_s)
    files = [
        (f"organisations/{organisation}.key", "SECRET", "makes the organisation's certificates"),
        (f"organisations/{organisation}.pem", "public", "the organisation's authority"),
        ("federation.key", "SECRET", "makes organisations: keep it offline"),
        ("federation.pem", "public", "goes to every machine: who belongs to the federation"),
    ]
    if as_json:
        known = {"federation": made.federation, "organisation": organisation, "folder": folder}
        print_json({**known, "files": {name: visibility == "SECRET" for name, visibility, _ in files}})
        return
    whole = f"the federation {made.federation} and its organisation" if first else "the organisation"
    say(f"Made {whole} {organisation} in {folder}:", "")
    print_table(("file", "", "what for"), files)
    whose = "" if first else f" --organisation {organisation}"
    say(
        "",
        "Next, certificates for a gateway, peers 1 to 3 and yourself:",
        *(f"  {then_run(f'keys issue {words}{whose}', folder)}" for words in NEXT_ISSUED),
    )


@keys.command()
def issue(
    names: NamesArgument,
    role: RoleOption = Role.PEER,
    organisation: OrganisationOption = None,
    days: DaysOption = None,
    folder: FolderOption = DEFAULT_KEYS,
    as_json: JsonOption = False,
) -> None:
    """Make a key and a certificate for each of some nodes, or for a person.

    Where the key should never leave its machine, use `raftgossip keys request` there instead.

    \b
    Example:
      raftgossip keys issue 1 2 3
      raftgossip keys issue gateway --role gateway --days 30
      raftgossip keys issue alice --role operator
    """
    from raftgossip.cli.keys_view import show_made
    from raftgossip.runtime.clock import SystemClock
    from raftgossip.trust.files import DEFAULT_DAYS, KeyFolder

    made, now_s = KeyFolder(Path(folder)), SystemClock().wall_ms() / 1000
    taken = sorted(set(names) & set(made.names(role)))
    if taken:
        renewal = f"keys renew {' '.join(taken)} --role {role}"
        raise ConfigError(
            f"{role} {', '.join(taken)}: there is a certificate in {folder} already; "
            f"`{then_run(renewal, folder)}` makes a new one"
        )
    issuer = organisation_of(made.path, organisation)
    lifetime_days = DEFAULT_DAYS if days is None else days
    certificates = [made.issue(issuer, role, name, now_s, lifetime_days) for name in dict.fromkeys(names)]
    show_made("Made", certificates, folder, as_json)


@keys.command()
def renew(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Default: all that are due.", show_default=False)
    ] = None,
    role: RoleOption = Role.PEER,
    days: Annotated[
        float | None, typer.Option("--days", metavar="DAYS", help="How long it is valid; default: as long as before.")
    ] = None,
    new_key: Annotated[bool, typer.Option("--new-key", help="Make a new key, too.")] = False,
    folder: FolderOption = DEFAULT_KEYS,
    as_json: JsonOption = False,
) -> None:
    """Make new certificates for those in the folder. Programs that run follow within seconds, without a restart.

    Without names: of every role, what has less than a third of its time left; for a timer that runs every few hours.

    \b
    Example:
      raftgossip keys renew 1 2 3
      raftgossip keys renew gateway --role gateway --new-key
      raftgossip keys renew
    """
    from raftgossip.cli.keys_view import due_in, show_made
    from raftgossip.runtime.clock import SystemClock
    from raftgossip.trust.files import KeyFolder

    held, now_s = KeyFolder(Path(folder)), SystemClock().wall_ms() / 1000
    wanted = [(role, name) for name in dict.fromkeys(names)] if names else due_in(held, now_s)
    certificates = [held.renew(each, name, now_s, days, new_key) for each, name in wanted]
    show_made("Renewed", certificates, folder, as_json)


for command in (revoke, token, show, request, sign, accept):
    keys.command()(command)
