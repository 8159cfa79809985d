"""`raftgossip keys revoke`: certificates that count no more, and telling those that run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raftgossip.cli.keys_options import FolderOption, JsonOption, NameArgument, OrganisationOption, RoleOption
from raftgossip.cli.options import InsecureOption
from raftgossip.errors import ClusterUnreachable
from raftgossip.trust import DEFAULT_KEYS
from raftgossip.trust.identity import Role

PublishOption = Annotated[
    list[str] | None,
    typer.Option("--publish", metavar="HOST:PORT", help="Peers and gateways to tell at once; several: with commas."),
]


def revoke(
    name: NameArgument,
    role: RoleOption = Role.PEER,
    publish: PublishOption = None,
    organisation: OrganisationOption = None,
    folder: FolderOption = DEFAULT_KEYS,
    insecure: InsecureOption = False,
    as_json: JsonOption = False,
) -> None:
    """Revoke all certificates of a node or person: whoever knows of it refuses them, on open connections, too.

    A peer that is told passes it on to all others. Repeated with --publish, it tells more of them.

    \b
    Example:
      raftgossip keys revoke 4 --publish 10.0.0.7:7001,gw:8090
      raftgossip keys revoke alice --role operator
    """
    from raftgossip.cli.keys_publishing import publish_to
    from raftgossip.cli.keys_view import say
    from raftgossip.cli.output import print_json, print_table
    from raftgossip.runtime.clock import SystemClock
    from raftgossip.trust.files import KeyFolder

    held, now_s = KeyFolder(Path(folder)), SystemClock().wall_ms() / 1000
    fresh = held.revoke(role, name, now_s, organisation)
    issuer = next(
        each.certificate.identity.organisation
        for each in held.certificates(now_s)
        if each.is_revoked and (each.certificate.identity.role, each.certificate.identity.name) == (role, name)
    )
    path = held.path / "revoked" / f"{issuer}.crl"
    addresses = [part.strip() for each in publish or () for part in each.split(",") if part.strip()]
    told = publish_to(addresses, held.revocation_list(issuer), folder, insecure) if addresses else []
    silent = [address for address, took_it, _ in told if not took_it]
    if as_json:
        rows = [{"address": address, "told": took_it, "message": text} for address, took_it, text in told]
        serials = [f"{each.serial:x}" for each in fresh]
        print_json({"organisation": issuer, "list": str(path), "revoked": serials, "published": rows})
    else:
        plural = "s" if len(fresh) > 1 else ""
        done = f"Revoked {len(fresh)} certificate{plural} of" if fresh else "There was no new certificate to revoke of"
        say(f"{done} {role} {name}; the list is {path}.")
        if told:
            print_table(("address", "told", ""), [(each, "yes" if good else "NO", text) for each, good, text in told])
        else:
            say(
                "Next, tell those that run: repeat this with --publish HOST:PORT of any peer and of each gateway, or "
                "copy the list into revoked/ of their key folders."
            )
        if role is Role.PEER:
            say(f"It may still count as a voter: take it out with `raftgossip members remove {name} --node HOST:PORT`.")
    if silent:
        raise ClusterUnreachable(
            f"not told: {', '.join(silent)}; what is revoked stays so: repeat this with --publish for them"
        )
