"""Real peers over mutual TLS: who gets in, who is shut out, and that open connections end with their holder's right."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from raftgossip.errors import AlreadyExists, PermissionDenied, Unauthenticated
from raftgossip.ids import NodeId
from raftgossip.peer.names import RosterNames
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Role
from tests.support.keys import make_keys, now_s
from tests.support.secured_peers import SecuredCluster, held_connection

pytestmark = pytest.mark.slow


def with_cluster(keys: KeyFolder, story: Callable[[SecuredCluster], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(90), asyncio.TaskGroup() as group:
            cluster = SecuredCluster(group, keys)
            try:
                await story(cluster)
            finally:
                cluster.stop_all()

    asyncio.run(main())


def token(keys: KeyFolder, number: int) -> str:
    return keys.token(Role.PEER, str(number), 900, now_s())


def test_peers_train_together_over_mutual_tls_and_a_revoked_one_is_cut_off(tmp_path: Path) -> None:
    keys = make_keys(tmp_path, peers=(1, 2, 3))

    async def story(cluster: SecuredCluster) -> None:
        for number in (1, 2, 3):
            await cluster.start(number)
        await cluster.voters_are(1, 2, 3)
        await cluster.until(lambda: any(fact.contributors == (1, 2, 3) for fact in cluster.closed.get(2, ())))
        assert not any("CERTIFICATES" in text for text in cluster.told)
        roster = cluster.peers[1].node.view().roster  # type: ignore[union-attr] # it has entered
        names = [f"spiffe://hearts.example/clinic/{number}" for number in (1, 2, 3)]
        assert [entry.owner.partition("#")[0] for entry in roster] == names

        keys.renew(Role.PEER, "2", now_s(), new_key=True)
        await cluster.until(lambda: any("shows its renewed certificate" in text for text in cluster.told))
        since = len(cluster.closed[2])
        await cluster.until(lambda: any(fact.contributors == (1, 2, 3) for fact in cluster.closed[2][since:]))

        with held_connection(cluster.addresses[1], keys.credentials(Role.PEER, "3")) as held:
            assert await asyncio.to_thread(held.call) == "OK"
            keys.revoke(Role.PEER, "3", now_s())
            assert (await asyncio.to_thread(held.end_of_stream)).startswith("UNAUTHENTICATED")
            assert "revoked" in await asyncio.to_thread(held.call)
        before = len(cluster.closed[1])
        await cluster.until(lambda: any(fact.contributors == (1, 2) for fact in cluster.closed[1][before:]))

    with_cluster(keys, story)


def test_a_revocation_that_is_published_at_one_node_reaches_all(tmp_path: Path) -> None:
    keys = make_keys(tmp_path, peers=(1, 2, 3))
    own = {number: shutil.copytree(keys.path, tmp_path / f"keys-{number}") for number in (1, 2, 3)}

    async def story(cluster: SecuredCluster) -> None:
        for number in (1, 2, 3):
            await cluster.start(number, keys=own[number])
        await cluster.voters_are(1, 2, 3)
        with held_connection(cluster.addresses[2], KeyFolder(own[3]).credentials(Role.PEER, "3")) as held:
            assert await asyncio.to_thread(held.call) == "OK"
            keys.revoke(Role.PEER, "3", now_s())
            assert await asyncio.to_thread(held.call) == "OK"
            revoked = keys.revocation_list("clinic")
            said = await cluster.ask(1, lambda client: client.publish_revocations(revoked))
            assert said == "taken over; passed on to 2 other nodes"
            assert (await asyncio.to_thread(held.call)).startswith("UNAUTHENTICATED")

    with_cluster(keys, story)


def test_a_join_token_lets_one_node_in_once_whoever_leads_and_after_a_restart(tmp_path: Path) -> None:
    keys = make_keys(tmp_path, peers=(1, 2, 3, 4))

    async def story(cluster: SecuredCluster) -> None:
        await cluster.start(1, require_token=True, data_dir=tmp_path / "s1")
        error = await cluster.refused(2)
        assert isinstance(error, PermissionDenied) and "raftgossip keys token" in str(error)
        error = await cluster.refused(2, join_token=token(keys, 4))
        assert isinstance(error, Unauthenticated) and "another key" in str(error)

        used = token(keys, 3)
        await cluster.start(2, join_token=token(keys, 2), data_dir=tmp_path / "s2")
        await cluster.start(3, join_token=used, data_dir=tmp_path / "s3")
        await cluster.voters_are(1, 2, 3)

        with held_connection(cluster.addresses[1], keys.credentials(Role.PEER, "3")) as held:
            assert await asyncio.to_thread(held.call) == "OK"
            said = await cluster.ask(1, lambda client: client.remove_member(NodeId(3)))
            assert said == "node 3 is out of the cluster; the voters are 1, 2"
            assert "PERMISSION_DENIED: rule members-only" in await asyncio.to_thread(held.call)
            assert "PERMISSION_DENIED: rule members-only" in await asyncio.to_thread(held.end_of_stream)
        await cluster.lives[3]

        error = await cluster.refused(3, join_token=used)  # another life of it, with an empty state directory
        assert isinstance(error, AlreadyExists) and "--data-dir that it had before" in str(error)
        error = await cluster.refused(3, join_token=used, data_dir=tmp_path / "s3")
        assert isinstance(error, AlreadyExists) and "was used before" in str(error)
        await cluster.ask(1, lambda client: client.transfer_leadership(NodeId(2)))
        error = await cluster.refused(3, data_dir=tmp_path / "s3", peers=[cluster.addresses[2]])
        assert isinstance(error, PermissionDenied) and "rule join-token" in str(error)
        await cluster.stop(2)
        await cluster.start(2, data_dir=tmp_path / "s2")
        await cluster.ask(2, lambda client: client.status_of_now())
        error = await cluster.refused(3, join_token=used, data_dir=tmp_path / "s3")
        assert isinstance(error, AlreadyExists) and "was used before" in str(error)

    with_cluster(keys, story)


def test_a_peer_of_another_federation_or_without_certificates_is_shut_out(tmp_path: Path) -> None:
    keys = make_keys(tmp_path, peers=(1, 2))
    foreign = make_keys(tmp_path / "foreign", peers=(2,))

    async def story(cluster: SecuredCluster) -> None:
        await cluster.start(1)
        for words, settings in (
            ("does not belong to the federation", {"keys": foreign.path}),
            ("speaks TLS", {"insecure": True}),
        ):
            await cluster.start(2, **settings)
            await cluster.until(lambda words=words: any(words in text for text in cluster.told))
            await cluster.stop(2)
        status = await cluster.ask(1, lambda client: client.status_of_now())
        assert [peer.node_id for peer in status.peers] == [1]

    with_cluster(keys, story)


def test_a_certificate_alone_reads_nothing_and_a_name_that_members_know_is_learned(tmp_path: Path) -> None:
    keys = make_keys(tmp_path, peers=(1, 2, 3))

    async def story(cluster: SecuredCluster) -> None:
        for number in (1, 2):
            await cluster.start(number)
        await cluster.voters_are(1, 2)
        with held_connection(cluster.addresses[1], keys.credentials(Role.PEER, "3")) as stranger:
            assert "rule members-only" in await asyncio.to_thread(stranger.call)
            assert "rule members-only" in await asyncio.to_thread(stranger.end_of_stream)

            # Node 1 forgets node 2's name, as if its roster lagged; it asks node 2 when it meets a stranger.
            names = cluster.peers[1].node._parts.names  # type: ignore[union-attr]
            names._roster, names._told = RosterNames(), {}
            since = len(cluster.closed.setdefault(1, []))
            await cluster.until(lambda: any(fact.contributors == (1, 2) for fact in cluster.closed[1][since:]))
            assert dict(names._told)[NodeId(2)].endswith("/2")
            assert "rule members-only" in await asyncio.to_thread(stranger.call)

    with_cluster(keys, story)
