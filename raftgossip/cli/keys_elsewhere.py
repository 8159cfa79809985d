"""`raftgossip keys request`, `sign` and `accept`: a certificate for a key that never leaves its machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from raftgossip.cli.keys_options import (
    DaysOption,
    FolderOption,
    JsonOption,
    NameArgument,
    OrganisationOption,
    RoleOption,
    organisation_of,
    then_run,
)
from raftgossip.errors import ConfigError
from raftgossip.trust import DEFAULT_KEYS
from raftgossip.trust.identity import Role

MAX_INPUT_BYTES = 64 << 10
"""Of a request or an answer; ours have 1 to 3 KiB."""

RequestArgument = Annotated[
    typer.FileBinaryRead, typer.Argument(metavar="FILE", help="The request; -: standard input.", show_default=False)
]
AnswerArgument = Annotated[
    typer.FileBinaryRead, typer.Argument(metavar="FILE", help="The answer; -: standard input.", show_default=False)
]
OutOption = Annotated[
    typer.FileBinaryWrite, typer.Option("--out", metavar="FILE", help="Where the answer goes; default: shown.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask whether the request should be granted.")]


def request(
    name: NameArgument,
    organisation: Annotated[str, typer.Option("--organisation", metavar="ORG", help="The organisation to ask.")],
    role: RoleOption = Role.PEER,
    folder: FolderOption = DEFAULT_KEYS,
    as_json: JsonOption = False,
) -> None:
    """On the node's own machine: make a key, unless there is one, and a request to be certified for it.

    \b
    Example:
      raftgossip keys request 4 --organisation basel
    """
    from raftgossip.cli.keys_view import say
    from raftgossip.cli.output import print_json
    from raftgossip.trust.files import KeyFolder

    asking = KeyFolder(Path(folder))
    pem = asking.request(role, name, organisation)
    path = asking.path / "nodes" / f"{role}-{name}.csr"
    if as_json:
        print_json({"request": str(path), "pem": pem.decode()})
        return
    say(
        f"Made the request {path}; the key beside it is SECRET and stays here.",
        f"Next, send the request to who keeps the key of {organisation}, who runs there:",
        f"  raftgossip keys sign {path.name} --out {path.stem}.pem",
        "and here, when the answer has come:",
        f"  {then_run(f'keys accept {path.stem}.pem', folder)}",
    )


def sign(
    file: RequestArgument,
    out: OutOption = "-",  # type: ignore[assignment]  # typer opens it: standard output
    yes: YesOption = False,
    organisation: OrganisationOption = None,
    days: DaysOption = None,
    folder: FolderOption = DEFAULT_KEYS,
    as_json: JsonOption = False,
) -> None:
    """Where the organisation's key is: grant a request, after showing what it asks for.

    \b
    Example:
      raftgossip keys sign peer-4.csr --out peer-4.pem
      raftgossip keys sign - --yes < peer-4.csr > peer-4.pem
    """
    from raftgossip.cli.output import print_json
    from raftgossip.runtime.clock import SystemClock
    from raftgossip.trust.authority import read_request
    from raftgossip.trust.files import DEFAULT_DAYS, KeyFolder

    granting, now_s = KeyFolder(Path(folder)), SystemClock().wall_ms() / 1000
    pem = _read(file)
    issuer = organisation_of(granting.path, organisation)
    asked = read_request(pem)
    wish = f"{asked.role} {asked.name} of {asked.organisation}"
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError(f"it asks to be {wish}: add --yes to grant it")
        typer.confirm(f"It asks to be {wish}. Grant it?", abort=True, err=True)
    answer = granting.sign(pem, issuer, now_s, DEFAULT_DAYS if days is None else days)
    if as_json:
        print_json({"role": str(asked.role), "name": asked.name, "organisation": issuer, "pem": answer.decode()})
        return
    out.write(answer)
    sys.stderr.write(f"Granted: {wish}. Send the answer back, for `raftgossip keys accept` there.\n")


def accept(file: AnswerArgument, folder: FolderOption = DEFAULT_KEYS, as_json: JsonOption = False) -> None:
    """On the node's own machine: keep the certificate that was granted.

    Without a federation in the folder, that of the answer is believed: take it only from whom you trust.

    \b
    Example:
      raftgossip keys accept peer-4.pem
    """
    from raftgossip.cli.keys_view import certificate_document, how_to_start, say, until
    from raftgossip.cli.output import print_json
    from raftgossip.runtime.clock import SystemClock
    from raftgossip.trust.files import KeyFolder, ListedCertificate

    keeping, now_s = KeyFolder(Path(folder)), SystemClock().wall_ms() / 1000
    accepted = keeping.accept(_read(file))
    if as_json:
        print_json(certificate_document(ListedCertificate(accepted, False, True), now_s))
        return
    say(
        f"Kept the certificate of {accepted.identity.uri}, which expires {until(accepted.not_after_s, now_s)}.",
        f"Next: {then_run(how_to_start(accepted).removeprefix('raftgossip '), folder)}",
    )


def _read(file: typer.FileBinaryRead) -> bytes:
    data: bytes = file.read(MAX_INPUT_BYTES + 1)
    if len(data) > MAX_INPUT_BYTES:
        raise ConfigError(f"{file.name} is longer than {MAX_INPUT_BYTES} bytes; it is none of ours")
    return data
