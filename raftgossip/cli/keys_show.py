"""`raftgossip keys show` and `token`: what the folder holds, and permissions to enter a cluster once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from raftgossip.cli.keys_options import (
    FolderOption,
    JsonOption,
    NameArgument,
    OrganisationOption,
    RoleOption,
    organisations_with_key,
)
from raftgossip.errors import ConfigError
from raftgossip.trust import DEFAULT_KEYS
from raftgossip.trust.identity import Role

TokenOption = Annotated[
    str | None, typer.Option("--token", metavar="TEXT", help="Verify this join token and say what it allows.")
]
MinutesOption = Annotated[float, typer.Option("--minutes", help="How long it is valid, at most 15.")]


def show(token: TokenOption = None, folder: FolderOption = DEFAULT_KEYS, as_json: JsonOption = False) -> None:
    """Show the certificates that the folder knows of: whose, until when, and which are revoked; or explain a token.

    \b
    Example:
      raftgossip keys show
      raftgossip keys show --json
      raftgossip keys show --token v1.eyJl...
    """
    from raftgossip.cli.keys_view import certificate_document, certificates_table, explain_token
    from raftgossip.cli.output import make_console, print_json, print_table
    from raftgossip.runtime.clock import SystemClock
    from raftgossip.trust.files import KeyFolder

    held, now_s = KeyFolder(Path(folder)), SystemClock().wall_ms() / 1000
    if not held.exists():
        raise ConfigError(
            f"there are no keys in {folder}: make them with `raftgossip keys init`, or give another --keys"
        )
    if token is not None:
        explain_token(held, token, now_s, as_json)
        return
    documents = [certificate_document(each, now_s) for each in held.certificates(now_s)]
    certifies = organisations_with_key(held.path)
    if as_json:
        print_json(
            {"folder": folder, "federation": held.federation, "certifies_for": certifies, "certificates": documents}
        )
        return
    num_revoked = sum(document["state"] == "revoked" for document in documents)
    print_table(
        ("", ""),
        [
            ("federation", held.federation),
            ("certifies for", ", ".join(certifies) or "nobody: no organisation's key is here"),
            ("certificates", f"{len(documents)}{f', {num_revoked} revoked' if num_revoked else ''}"),
        ],
    )
    if documents:
        make_console().print("", certificates_table(documents, now_s), sep="\n")


def token(
    name: NameArgument,
    role: RoleOption = Role.PEER,
    minutes: MinutesOption = 15.0,
    organisation: OrganisationOption = None,
    folder: FolderOption = DEFAULT_KEYS,
    as_json: JsonOption = False,
) -> None:
    """Make a join token: a node's permission to enter, once, a cluster whose run requires tokens.

    It is bound to the key in the node's newest certificate. Only the token goes to standard output.

    \b
    Example:
      raftgossip keys token 4
      raftgossip keys token 4 --minutes 5
    """
    from raftgossip.cli.output import print_json
    from raftgossip.runtime.clock import SystemClock
    from raftgossip.trust.files import KeyFolder

    now_s = SystemClock().wall_ms() / 1000
    lifetime_s = round(minutes * 60)
    made = KeyFolder(Path(folder)).token(role, name, lifetime_s, now_s, organisation)
    if as_json:
        print_json({"token": made, "expires": int(now_s) + lifetime_s})
        return
    sys.stdout.write(made + "\n")
    if sys.stdout.isatty():
        sys.stderr.write(
            f"\nIt lets {role} {name} in once, within {minutes:g} minutes, and only with its key: "
            f"start it there with RAFTGOSSIP_JOIN_TOKEN set to it.\n"
        )
