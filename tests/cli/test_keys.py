"""`raftgossip keys`: from an empty folder to certificates that are renewed, revoked, requested and shown."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.text import Text

from raftgossip.cli.keys_view import certificate_document, certificates_table, until
from raftgossip.errors import Busy
from raftgossip.trust.files import KeyFolder, ListedCertificate
from raftgossip.trust.identity import Role
from tests.cli.conftest import Outcome
from tests.support.canned_gateway import CannedGateway, serving_gateway
from tests.support.canned_peer import CannedPeer, serving
from tests.support.keys import FEDERATION, ORGANISATION, make_keys, now_s

Command = Callable[..., Outcome]
DAY_S = 86_400.0
LOWER = ("init", "issue", "renew", "revoke", "token", "show", "request", "sign", "accept")


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    """A federation with peers 1 and 2, a gateway and an operator."""
    return make_keys(tmp_path)


@pytest.fixture
def ask(command: Command, keys: KeyFolder) -> Command:
    """`raftgossip keys …` on that folder."""

    def run(*arguments: str) -> Outcome:
        return command("keys", *arguments, "--keys", str(keys.path))

    return run


def shown(ask: Command) -> list[dict[str, object]]:
    """All certificates, as JSON shows them."""
    found: list[dict[str, object]] = json.loads(ask("show", "--json").out)["certificates"]
    return found


# --- help and beginning


@pytest.mark.parametrize("name", LOWER)
def test_each_command_has_an_example(command: Command, name: str) -> None:
    outcome = command("keys", name, "--help")
    assert outcome.code == 0
    assert f"raftgossip keys {name}" in outcome.out.partition("Example:")[2]


def test_without_a_lower_command_the_overview_is_shown(command: Command) -> None:
    outcome = command("keys")
    assert (outcome.code, outcome.err) == (0, "")
    assert all(name in outcome.out for name in LOWER)


def test_init_makes_a_federation_and_says_what_is_secret_and_what_comes_next(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = command("keys", "init")
    assert (outcome.code, outcome.err) == (0, "")
    secret = [line.split()[0] for line in outcome.out.splitlines() if "SECRET" in line]
    assert secret == ["organisations/main.key", "federation.key"]
    assert "raftgossip keys issue 1 2 3\n" in outcome.out
    for name in secret:
        assert stat.S_IMODE((tmp_path / "raftgossip-keys" / name).stat().st_mode) == 0o600
    assert KeyFolder(tmp_path / "raftgossip-keys").federation == "raftgossip"


def test_what_init_says_next_can_be_copied(command: Command, tmp_path: Path) -> None:
    folder = str(tmp_path / "my-keys")
    said = command("keys", "init", FEDERATION, "--organisation", "basel", "--keys", folder).out
    following = [line.split()[1:] for line in said.splitlines() if line.startswith("  raftgossip ")]
    assert len(following) == 3
    for arguments in following:
        assert command(*arguments).code == 0
    assert KeyFolder(Path(folder)).names(Role.PEER) == ["1", "2", "3"]


def test_init_adds_an_organisation_and_never_touches_what_is_there(ask: Command, keys: KeyFolder) -> None:
    root = (keys.path / "federation.pem").read_bytes()
    again = ask("init", FEDERATION)
    assert again.code == 2
    assert f"holds the federation {FEDERATION} already" in again.complaint
    assert ask("init", "other.example", "--organisation", "basel").code == 2
    assert "raftgossip keys issue 1 2 3 --organisation basel" in ask("init", "--organisation", "basel").out
    assert (keys.path / "federation.pem").read_bytes() == root
    document = json.loads(ask("init", "--organisation", "zurich", "--json").out)
    assert document["files"]["organisations/zurich.key"] is True
    assert document["files"]["federation.pem"] is False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("init", "Hearts!"), "federation 'Hearts!'"),
        (("issue", "1"), "no organisation's key"),
        (("renew",), "no organisation's key"),
        (("show",), "there are no keys in"),
        (("revoke", "1"), "peer 1"),
        (("token", "1"), "peer 1"),
        (("request", "1"), "--organisation"),
        (("issue", "1", "--role", "king"), "--role"),
    ],
)
def test_a_mistake_in_an_empty_folder_is_one_line_and_code_2(
    command: Command, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    outcome = command("keys", *arguments, "--keys", str(tmp_path / "none"))
    assert outcome.code == 2
    assert words in outcome.complaint


# --- issuing and renewing


def test_issue_takes_several_names_and_says_where_the_files_belong(ask: Command, keys: KeyFolder) -> None:
    outcome = ask("issue", "3", "4")
    assert (outcome.code, outcome.err) == (0, "")
    assert "nodes/peer-3.pem and its .key (SECRET)" in outcome.out
    assert "raftgossip node --node-id 4" in outcome.out
    assert keys.credentials(Role.PEER, "4").current().identity.uri == f"spiffe://{FEDERATION}/{ORGANISATION}/4"


def test_an_operators_certificate_comes_with_the_command_that_uses_it(ask: Command, keys: KeyFolder) -> None:
    assert f"  raftgossip status --node HOST:PORT --keys {keys.path}\n" in ask("issue", "bob", "--role", "operator").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("1", "9"), "peer 1: there is a certificate"),
        (("x",), "node id"),
        (("9", "--days", "91"), "90"),
        (("9", "--organisation", "nobody"), "nobody"),
    ],
)
def test_what_cannot_be_issued_makes_no_file(
    ask: Command, keys: KeyFolder, arguments: tuple[str, ...], words: str
) -> None:
    outcome = ask("issue", *arguments)
    assert outcome.code == 2
    assert words in outcome.complaint
    assert keys.names(Role.PEER) == ["1", "2"]


def test_with_several_organisations_one_must_be_said(ask: Command, keys: KeyFolder) -> None:
    keys.add_organisation("basel", now_s())
    assert "--organisation basel or clinic" in ask("issue", "3").complaint
    assert json.loads(ask("issue", "3", "--organisation", "basel", "--json").out)["certificates"][0]["uri"] == (
        f"spiffe://{FEDERATION}/basel/3"
    )


def test_renew_by_name_makes_a_new_certificate(ask: Command, keys: KeyFolder) -> None:
    before = keys.credentials(Role.PEER, "1").current()
    assert ask("renew", "1").code == 0
    renewed = keys.credentials(Role.PEER, "1").current()
    assert renewed.certificate.serial != before.certificate.serial
    assert renewed.key_pem == before.key_pem
    assert ask("renew", "1", "--new-key").code == 0
    assert keys.credentials(Role.PEER, "1").current().key_pem != before.key_pem


def test_renew_without_names_takes_those_of_every_role_that_are_due(ask: Command, keys: KeyFolder) -> None:
    then_s = now_s() - 0.7 * DAY_S
    keys.renew(Role.PEER, "2", then_s, days=1.0)
    keys.renew(Role.GATEWAY, "gateway-1", then_s, days=1.0)
    due = [each["name"] for each in shown(ask) if each["state"] == "due" and each["here"]]
    assert due == ["gateway-1", "2"]
    renewed = json.loads(ask("renew", "--json").out)["certificates"]
    assert [each["name"] for each in renewed] == ["gateway-1", "2"]
    assert ask("renew").out.startswith("Nothing is due")


# --- showing


def test_show_tells_whose_until_when_and_what_is_revoked(ask: Command, keys: KeyFolder) -> None:
    keys.revoke(Role.PEER, "2", now_s())
    keys.renew(Role.PEER, "1", now_s() - 2 * DAY_S, days=1.0)
    outcome = ask("show")
    assert (outcome.code, outcome.err) == (0, "")
    assert FEDERATION in outcome.out and "certifies for  clinic" in outcome.out
    rows = {tuple(line.split()[:2]): line for line in outcome.out.splitlines() if ORGANISATION in line}
    assert "in 23 h" in rows["operator", "alice"] and "valid" in rows["operator", "alice"]
    assert "revoked" in rows["peer", "2"]
    states = {(each["name"], each["here"]): each["state"] for each in shown(ask)}
    assert (states["1", True], states["1", False], states["2", True]) == ("expired", "valid", "revoked")


@pytest.mark.parametrize(("age_days", "style"), [(0.0, ""), (0.6, ""), (0.7, "red"), (1.1, "red")])
def test_what_needs_to_be_renewed_is_red(keys: KeyFolder, age_days: float, style: str) -> None:
    issued = keys.issue(ORGANISATION, Role.PEER, "9", now_s() - age_days * DAY_S)
    document = certificate_document(ListedCertificate(issued, False, True), now_s())
    expires = next(iter(certificates_table([document], now_s()).columns[3].cells))
    assert isinstance(expires, Text) and expires.style == style


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "in 0 s"), (119, "in 119 s"), (7199, "in 119 min"), (7200, "in 2 h"), (172_800, "in 2 d"), (-7200, "2 h ago")],
)
def test_a_time_is_told_in_the_unit_that_fits(seconds: int, text: str) -> None:
    assert until(1000.0 + seconds, 1000.0) == text


# --- tokens


def test_a_token_is_alone_on_standard_output_and_can_be_explained(ask: Command) -> None:
    outcome = ask("token", "1", "--minutes", "5")
    assert (outcome.code, outcome.err) == (0, "")
    text = outcome.out.removesuffix("\n")
    assert text.startswith("v1.") and "\n" not in text
    said = ask("show", "--token", text).out
    assert "good for one join" in said
    assert "a peer with the key" in said and f"spiffe://{FEDERATION}/{ORGANISATION}/1" in said
    assert "in 4 min" in said or "in 5 min" in said
    document = json.loads(ask("show", "--token", text, "--json").out)
    assert (document["role"], document["organisation"]) == ("peer", ORGANISATION)


def test_a_token_that_is_not_whole_is_refused(ask: Command) -> None:
    text = ask("token", "1").out.strip()
    outcome = ask("show", "--token", text[:-20])
    assert (outcome.code, outcome.out) == (1, "")
    assert "token" in outcome.complaint


@pytest.mark.parametrize("arguments", [("1", "--minutes", "16"), ("9",)])
def test_a_token_that_cannot_be_made_is_code_2(ask: Command, arguments: tuple[str, ...]) -> None:
    assert ask("token", *arguments).code == 2


# --- revoking


def test_revoke_says_how_to_tell_others(ask: Command, keys: KeyFolder) -> None:
    outcome = ask("revoke", "2")
    assert (outcome.code, outcome.err) == (0, "")
    assert f"Revoked 1 certificate of peer 2; the list is {keys.path}/revoked/{ORGANISATION}.crl." in outcome.out
    assert "--publish" in outcome.out
    assert "There was no new certificate to revoke of peer 2" in ask("revoke", "2").out


def test_revoke_tells_peers_and_gateways_whichever_they_are(ask: Command, keys: KeyFolder) -> None:
    peer, gateway = CannedPeer(1), CannedGateway()
    with (
        serving(peer, keys.credentials(Role.PEER, "1")) as at_peer,
        serving_gateway(gateway, keys.credentials(Role.GATEWAY)) as at_gateway,
    ):
        outcome = ask("revoke", "2", "--publish", f"{at_peer},{at_gateway}", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    published = json.loads(outcome.out)["published"]
    assert [(each["address"], each["told"]) for each in published] == [(at_peer, True), (at_gateway, True)]
    assert peer.revocations == gateway.revocations == [keys.revocation_list(ORGANISATION)]


def test_in_the_open_a_gateway_is_told_too(ask: Command, keys: KeyFolder) -> None:
    gateway = CannedGateway()
    with serving_gateway(gateway) as address:
        assert ask("revoke", "2", "--publish", address, "--insecure").code == 0
    assert gateway.revocations == [keys.revocation_list(ORGANISATION)]


def test_who_was_not_told_is_named_and_the_revocation_stands(ask: Command, keys: KeyFolder, dead_address: str) -> None:
    gateway = CannedGateway()
    gateway.error = Busy("too many lists")
    with serving_gateway(gateway, keys.credentials(Role.GATEWAY)) as busy:
        outcome = ask("revoke", "2", "--publish", busy, "--publish", dead_address)
    assert outcome.code == 3
    assert f"not told: {busy}, {dead_address}" in outcome.complaint
    rows = [line for line in outcome.out.splitlines() if " NO " in line]
    assert "too many lists" in rows[0] and "no peer answers" in rows[1]
    assert [each["state"] for each in shown(ask) if each["name"] == "2"] == ["revoked"]


# --- keys that never leave their machine


def test_a_certificate_is_requested_signed_and_accepted_without_moving_the_key(
    command: Command, ask: Command, keys: KeyFolder, tmp_path: Path
) -> None:
    node, answer = tmp_path / "node", tmp_path / "peer-7.pem"
    asked = command("keys", "request", "7", "--organisation", ORGANISATION, "--keys", str(node))
    assert "raftgossip keys sign peer-7.csr --out peer-7.pem" in asked.out
    request = node / "nodes" / "peer-7.csr"
    signed = ask("sign", str(request), "--out", str(answer), "--yes")
    assert (signed.code, signed.out) == (0, "")
    assert f"Granted: peer 7 of {ORGANISATION}" in signed.err
    assert b"PRIVATE" not in answer.read_bytes()
    accepted = command("keys", "accept", str(answer), "--keys", str(node))
    assert f"Next: raftgossip node --node-id 7 --keys {node}" in accepted.out
    assert KeyFolder(node).credentials(Role.PEER).current().identity.organisation == ORGANISATION


def test_a_request_is_not_granted_unasked(command: Command, ask: Command, tmp_path: Path) -> None:
    node = tmp_path / "node"
    command("keys", "request", "boss", "--role", "operator", "--organisation", ORGANISATION, "--keys", str(node))
    refused = ask("sign", str(node / "nodes" / "operator-boss.csr"))
    assert (refused.code, refused.out) == (2, "")
    assert f"it asks to be operator boss of {ORGANISATION}: add --yes" in refused.complaint


def test_an_answer_for_another_key_is_refused(command: Command, ask: Command, tmp_path: Path) -> None:
    nodes = [tmp_path / "a", tmp_path / "b"]
    for node in nodes:
        command("keys", "request", "7", "--organisation", ORGANISATION, "--keys", str(node))
    answer = tmp_path / "peer-7.pem"
    assert ask("sign", str(nodes[0] / "nodes" / "peer-7.csr"), "--out", str(answer), "--yes").code == 0
    assert command("keys", "accept", str(answer), "--keys", str(nodes[1])).code == 2


def test_junk_is_no_request_and_no_answer(ask: Command, tmp_path: Path) -> None:
    junk = tmp_path / "junk"
    junk.write_bytes(b"junk" * 20_000)
    assert "is longer than" in ask("sign", str(junk), "--yes").complaint
    junk.write_bytes(b"junk")
    assert ask("sign", str(junk), "--yes").code == 1
    assert ask("accept", str(junk)).code == 1
