"""Certificates and what to do with their files, for people and for machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from rich.table import Table
from rich.text import Text

from raftgossip.cli.keys_options import organisations_with_key, then_run
from raftgossip.cli.output import make_console, make_table, print_json, print_table
from raftgossip.errors import ConfigError
from raftgossip.runtime.clock import SystemClock
from raftgossip.trust.certificates import Certificate
from raftgossip.trust.files import KeyFolder, ListedCertificate
from raftgossip.trust.identity import Role

COLUMNS = ("role", "name", "organisation", "expires", "state", "serial")
DUE_PART = 1 / 3
"""A certificate is due for renewal when less than this part of its life is left."""
SERIAL_CHARACTERS = 16


class CertificateDocument(TypedDict):
    """One certificate. Times are seconds since the Unix epoch. `state`: valid, due (less than a third of its life is
    left), expired or revoked; `here`: it is the one that its holder uses from this folder."""

    role: str
    name: str
    organisation: str
    uri: str
    serial: str
    not_before: float
    not_after: float
    state: str
    here: bool


def certificate_document(listed: ListedCertificate, now_s: float) -> CertificateDocument:
    """One certificate, as it stands at `now_s`."""
    certificate = listed.certificate
    identity = certificate.identity
    return {
        "role": str(identity.role),
        "name": identity.name,
        "organisation": identity.organisation,
        "uri": identity.uri,
        "serial": f"{certificate.serial:x}",
        "not_before": certificate.not_before_s,
        "not_after": certificate.not_after_s,
        "state": _state(listed, now_s),
        "here": listed.is_here,
    }


def certificates_table(documents: Sequence[CertificateDocument], now_s: float) -> Table:
    """Certificates, one a row; what needs doing is red."""
    return make_table(COLUMNS, [_cells(document, now_s) for document in documents])


def until(moment_s: float, now_s: float) -> str:
    """How far a moment is: `in 23 h`, `3 min ago`; rounded down, so that nobody thinks that more is left."""
    left_s = abs(int(moment_s - now_s))
    for unit, length_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if left_s >= 2 * length_s:
            shown = f"{left_s // length_s} {unit}"
            break
    else:
        shown = f"{left_s} s"
    return f"in {shown}" if moment_s >= now_s else f"{shown} ago"


def is_due(certificate: Certificate, now_s: float) -> bool:
    """Whether less than a third of its life is left."""
    return certificate.not_after_s - now_s < DUE_PART * (certificate.not_after_s - certificate.not_before_s)


def say(*sentences: str) -> None:
    """What to do next, on standard output; names in it are shown, never interpreted."""
    console = make_console()
    for sentence in sentences:
        console.print(Text(sentence), soft_wrap=True)


def show_made(verb: str, certificates: Sequence[Certificate], keys: str, as_json: bool) -> None:
    """What was issued or renewed, and what to do with it."""
    now_s = SystemClock().wall_ms() / 1000
    documents = [certificate_document(ListedCertificate(each, False, True), now_s) for each in certificates]
    if as_json:
        print_json({"folder": keys, "certificates": documents})
        return
    if not certificates:
        say("Nothing is due: every certificate has more than a third of its time left.")
        return
    make_console().print(certificates_table(documents, now_s))
    say("")
    if verb == "Made":
        say(*_what_to_do_with(certificates, keys))
    else:
        say(f"{verb}. What runs with these files follows within seconds; copies on other machines must be replaced.")


def explain_token(folder: KeyFolder, text: str, now_s: float, as_json: bool) -> None:
    """Verify a join token, and say what it allows.

    Raises:
        Unauthenticated: it is not valid; says why.
    """
    token = folder.read_token(text, now_s)
    holders = {each.certificate.key_digest: each.certificate for each in folder.certificates(now_s)}
    holder = holders.get(token.key_digest)
    if as_json:
        print_json(
            {
                "token_id": token.token_id,
                "federation": token.federation,
                "organisation": token.organisation,
                "role": str(token.role),
                "key_digest": token.key_digest.hex(),
                "holder": holder.identity.uri if holder is not None else None,
                "expires": token.expires_s,
            }
        )
        return
    whose = f"that of {holder.identity.uri}" if holder is not None else "of a holder that is not known here"
    print_table(
        ("", ""),
        [
            ("token", f"{token.token_id}, good for one join"),
            ("by", f"the organisation {token.organisation} of the federation {token.federation}"),
            ("for", f"a {token.role} with the key {token.key_digest.hex()[:SERIAL_CHARACTERS]}, {whose}"),
            ("expires", until(token.expires_s, now_s)),
        ],
    )


def due_in(folder: KeyFolder, now_s: float) -> list[tuple[Role, str]]:
    """Whose certificate in the folder has less than a third of its life left, and can be renewed here."""
    certified = organisations_with_key(folder.path)
    if not certified:
        raise ConfigError(
            f"no organisation's key is in {folder.path}: renew where it is kept, or `raftgossip keys request`"
        )
    return [
        (each.certificate.identity.role, each.certificate.identity.name)
        for each in folder.certificates(now_s)
        if each.is_here
        and not each.is_revoked
        and is_due(each.certificate, now_s)
        and each.certificate.identity.organisation in certified
    ]


def _what_to_do_with(certificates: Sequence[Certificate], keys: str) -> list[str]:
    """Where new files belong, and what runs there."""
    people = [each for each in certificates if each.identity.role in (Role.OPERATOR, Role.OBSERVER)]
    nodes = [each for each in certificates if each not in people]
    said = [
        f"{_file(each, keys)} and its .key (SECRET) belong on the machine of {each.identity.name}." for each in nodes
    ]
    if nodes:
        said.append("Put them there with federation.pem into a folder laid out like this one, and start:")
    said.extend(f"  {how_to_start(each)}" for each in nodes)
    if people:
        said += ["With it, from here:", f"  {then_run(how_to_start(people[0]).removeprefix('raftgossip '), keys)}"]
    return [*said, f"Renew in time, from a timer, with `{then_run('keys renew', keys)}`; what runs follows by itself."]


def _file(certificate: Certificate, keys: str) -> Path:
    return Path(keys) / "nodes" / f"{certificate.identity.role}-{certificate.identity.name}.pem"


def how_to_start(certificate: Certificate) -> str:
    """The command that its holder runs with it."""
    match certificate.identity.role:
        case Role.PEER:
            return f"raftgossip node --node-id {certificate.identity.name}"
        case Role.GATEWAY:
            return "raftgossip gateway"
        case Role.OPERATOR | Role.OBSERVER:
            return "raftgossip status --node HOST:PORT"


def _state(listed: ListedCertificate, now_s: float) -> str:
    if listed.is_revoked:
        return "revoked"
    if listed.certificate.not_after_s <= now_s:
        return "expired"
    return "due" if is_due(listed.certificate, now_s) else "valid"


def _cells(document: CertificateDocument, now_s: float) -> tuple[str | Text, ...]:
    state = document["state"]
    style = "red" if state in ("revoked", "expired") or (state == "due" and document["here"]) else ""
    shown = "valid, renew it soon" if state == "due" else state
    if not document["here"] and state in ("valid", "due"):
        shown = "valid, replaced or elsewhere"
    return (
        document["role"],
        document["name"],
        document["organisation"],
        Text(until(document["not_after"], now_s), style=style),
        Text(shown, style=style),
        document["serial"][:SERIAL_CHARACTERS],
    )
