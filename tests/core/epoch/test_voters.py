"""Who votes: a table of the rules, and what holds from every state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftgossip.core.epoch.command import AddPeer, Command, RemovePeer
from raftgossip.core.epoch.ledger import Ledger, LedgerView
from raftgossip.core.epoch.voters import Health, next_configuration
from raftgossip.core.raft.message import Configuration
from raftgossip.ids import Address, Incarnation, NodeId

NONE: Mapping[int, str] = MappingProxyType({})


def add(node: int, organisation: str = "") -> AddPeer:
    """It enters the roster, with a site and perhaps an organisation."""
    labels = (("organisation", organisation),) if organisation else ()
    return AddPeer(NodeId(node), Address("host", node), Incarnation("a"), (*labels, ("site", "Basel")), str(node))


def nodes(text: str) -> tuple[NodeId, ...]:
    """`"1 2"` -> (1, 2)."""
    return tuple(NodeId(int(word)) for word in text.split())


def health(ready: str = "", silent: str = "", lost: str = "") -> Health:
    """Each group as `nodes` reads it."""
    return Health(nodes(ready), nodes(silent), nodes(lost))


def view(roster: Iterable[int], departed: Iterable[int] = (), organisations: Mapping[int, str] = NONE) -> LedgerView:
    """A ledger with this roster, these former members, and these organisations by node."""
    ledger = Ledger()
    commands: list[Command] = [add(node) for node in departed]
    commands += [RemovePeer(NodeId(node)) for node in departed]
    commands += [add(node, organisations.get(node, "")) for node in roster]
    for index, command in enumerate(commands, start=1):
        assert ledger.apply(index, command)[0].accepted
    return ledger.view()


@pytest.mark.parametrize(
    ("rule", "now", "roster", "departed", "answers", "max_voters", "then"),
    [
        ("all is well", "1,2,3|4", "1 2 3 4", "", health(), 3, None),
        # Whoever left the roster goes.
        ("a voter leaves", "1,2,3|", "1 3", "2", health(), 5, "1,3|"),
        ("one voter at a time", "1,2,3|", "1", "2 3", health(), 5, "1,3|"),
        ("the silent one first", "1,2,3,4,5|", "1 3 4", "2 5", health(silent="5"), 5, "1,2,3,4|"),
        ("voters leave before learners", "1,2|3", "1", "2 3", health(), 5, "1|3"),
        ("then the learners", "1|3", "1", "2 3", health(), 5, "1|"),
        ("the last voter stays", "1|2", "2", "1", health(), 5, None),
        ("with a successor it goes", "1|2", "2", "1", health(ready="2"), 1, "2|"),
        ("of two leavers one stays", "1,2|", "", "1 2", health(), 5, "2|"),
        ("a learner takes the place", "1,2,3|4", "1 3 4", "2", health(ready="4"), 3, "1,3,4|"),
        ("but none above the limit", "1,2,3|4", "1 3 4", "2", health(ready="4"), 2, "1,3|4"),
        ("but no learner that leaves", "1,2,3|4", "1 3", "2 4", health(ready="4"), 3, "1,3|4"),
        ("not if the rest is powerless", "1,2,3|", "1 3", "2", health(silent="3"), 3, None),
        ("silent and gone is no loss", "1,2,3|", "1 2", "3", health(silent="3"), 3, "1,2|"),
        ("a learner gives them power", "1,2,3|4", "1 3 4", "2", health("4", "3"), 3, "1,3,4|"),
        ("a lost one is replaced first", "1,2,3|4", "1 3 4", "2", health("4", "3", "3"), 2, "1,2,4|3"),
        # A newcomer becomes a learner.
        ("newcomers learn", "1|2", "1 2 3 4", "", health(), 5, "1|2,3,4"),
        ("before anybody is promoted", "1|2", "1 2 3", "", health(ready="2"), 5, "1|2,3"),
        ("comes while another leaves", "1|2", "1 3", "2", health(), 5, "1|3"),
        ("a founder without an entry", "1,2|", "2", "", health(), 5, None),
        # A learner becomes a voter while there is room.
        ("it must be ready", "1|2,3", "1 2 3", "", health(ready="3"), 5, "1,3|2"),
        ("one at a time, by id", "1|2,3", "1 2 3", "", health(ready="3 2"), 5, "1,2|3"),
        ("up to the limit", "1,2|3", "1 2 3", "", health(ready="3"), 3, "1,2,3|"),
        ("and not above", "1,2|3", "1 2 3", "", health(ready="3"), 2, None),
        ("only learners", "1,2|", "1 2", "", health(ready="2 3"), 5, None),
        ("surplus voters stay", "1,2,3|4", "1 2 3 4", "", health(ready="4"), 1, None),
        ("no even number beside silence", "1,2,3|4", "1 2 3 4", "", health("4", "3"), 5, None),
        ("but an odd one", "1,2,3,4|5", "1 2 3 4 5", "", health("5", "4"), 5, "1,2,3,4,5|"),
        ("a silent learner is no matter", "1,2,3|4,5", "1 2 3 4 5", "", health("4", "5"), 5, "1,2,3,4|5"),
        # A lost voter is replaced.
        ("silence alone costs no vote", "1,2,3|4", "1 2 3 4", "", health("4", "3"), 3, None),
        ("a lost voter is replaced", "1,2,3|4", "1 2 3 4", "", health("4", "3", "3"), 3, "1,2,4|3"),
        ("even if there is room", "1,2,3|4", "1 2 3 4", "", health("4", "3", "3"), 5, "1,2,4|3"),
        ("by nobody: it stays", "1,2,3|4", "1 2 3 4", "", health("", "3", "3"), 3, None),
        ("of four too", "1,2,3,4|", "1 2 3 4", "", health("", "4", "4"), 5, None),
        ("two at once", "1,2,3,4,5|6,7", "1 2 3 4 5 6 7", "", health("6 7", "2 5", "5 2"), 5, "1,3,4,6,7|2,5"),
        (
            "one learner: the longest lost",
            "1,2,3,4,5|6",
            "1 2 3 4 5 6",
            "",
            health("6", "2 5", "5 2"),
            5,
            "1,2,3,4,6|5",
        ),
        ("surplus is replaced, not more", "1,2,3|4,5", "1 2 3 4 5", "", health("4 5", "3", "3"), 1, "1,2,4|3,5"),
        ("not who votes no more", "1,2|3,4", "1 2 3 4", "", health("4", "3", "3"), 2, None),
        ("a returned one, if there is room", "1,2|3", "1 2 3", "", health(ready="3"), 3, "1,2,3|"),
        # Nothing while a change is under way.
        ("not while joint", "1,2,4|3|1,2,3", "1 2 3 4 5", "2", health("3", "", "1"), 5, None),
    ],
)
def test_the_next_configuration(rule, now, roster, departed, answers, max_voters, then) -> None:
    current = Configuration.decode(now.encode())
    told = view(nodes(roster), nodes(departed))
    wanted = next_configuration(current, told, answers, max_voters)
    assert (wanted.encode().decode() if wanted is not None else None) == then, rule


@pytest.mark.parametrize(
    ("rule", "now", "organisations", "answers", "max_voters", "then"),
    [
        ("a new one before a known one", "1|2,3", {1: "a", 2: "a", 3: "b"}, health("2 3"), 5, "1,3|2"),
        ("a known one if there is no other", "1|2", {1: "a", 2: "a"}, health("2"), 5, "1,2|"),
        ("of two new ones the lower id", "1|2,3", {1: "a", 2: "b", 3: "c"}, health("2 3"), 5, "1,2|3"),
        ("who names none counts as new", "1|2,3,4", {1: "a", 2: "a", 4: "b"}, health("2 3 4"), 5, "1,3|2,4"),
        ("two without a name are not of one", "1|2,3", {3: "a"}, health("2 3"), 5, "1,2|3"),
        (
            "the lost one's is free again",
            "1,2|3,4",
            {1: "a", 2: "b", 3: "a", 4: "b"},
            health("3 4", "2", "2"),
            2,
            "1,4|2,3",
        ),
        (
            "not two of one at once",
            "1,2,3|4,5,6",
            {1: "a", 4: "b", 5: "b", 6: "c"},
            health("4 5 6", "2 3", "2 3"),
            3,
            "1,4,6|2,3,5",
        ),
    ],
)
def test_voters_are_of_different_organisations_where_possible(
    rule, now, organisations, answers, max_voters, then
) -> None:
    current = Configuration.decode(now.encode())
    told = view(current.members, organisations=organisations)
    wanted = next_configuration(current, told, answers, max_voters)
    assert wanted is not None and wanted.encode().decode() == then, rule


@st.composite
def states(draw) -> tuple[Configuration, set[NodeId], set[NodeId], Health]:
    """A configuration whose majority answers, who stands in the roster, who left it, and how all answer."""
    groups = {NodeId(node): draw(st.sampled_from("vvll-")) for node in range(1, 9)}
    groups[NodeId(1)] = "v"  # the leader
    voters = tuple(node for node, group in groups.items() if group == "v")
    learners = tuple(node for node, group in groups.items() if group == "l")
    minority = draw(st.permutations([node for node in voters if node != 1]))[: (len(voters) - 1) // 2]
    silent = {node for node in (*minority, *learners) if draw(st.booleans())}
    lost = [node for node in draw(st.permutations(sorted(silent))) if node in voters and draw(st.booleans())]
    ready = tuple(node for node in learners if node not in silent and draw(st.booleans()))
    whereabouts = {node: draw(st.sampled_from("rrrd-")) for node in groups}
    roster = {node for node, place in whereabouts.items() if place == "r"}
    departed = {node for node, place in whereabouts.items() if place == "d"}
    return Configuration(voters, learners), roster, departed, Health(ready, tuple(sorted(silent)), tuple(lost))


@given(states(), st.integers(1, 6), st.lists(st.sampled_from(["", "a", "b"]), min_size=8, max_size=8))
def test_from_every_state_the_rules_come_to_an_end_and_harm_nobody(state, max_voters, names) -> None:
    current, roster, departed, health = state
    told = view(sorted(roster), sorted(departed), dict(enumerate(names, 1)))
    for _ in range(40):
        after = next_configuration(current, told, health, max_voters)
        if after is None:
            break
        assert after != current and after.voters and not after.outgoing
        assert len(after.voters) <= max(len(current.voters), max_voters)
        gone = set(current.voters) - set(after.voters)
        assert all(node in departed or node in health.lost for node in gone), "an answering voter lost its vote"
        assert not (gone - departed) - set(after.learners), "a lost voter must learn"
        come = set(after.voters) - set(current.voters)
        assert come <= set(health.ready) & set(current.learners) - departed
        assert len(after.voters) >= len(current.voters) - len(gone & departed), "fewer voters, though nobody left"
        answering = [node for node in after.voters if node not in health.silent]
        assert 2 * len(answering) > len(after.voters), "no majority to commit it"
        assert set(after.members) <= {*current.members, *roster}
        current = after
    else:
        raise AssertionError("it goes on for ever")
    # At the end everybody is where the ledger wants it, as far as that is possible.
    assert roster <= set(current.members)
    assert not departed & set(current.learners)
    ready = set(health.ready) & set(current.learners)
    assert not ready or not set(health.lost) & set(current.voters)


@given(states(), st.integers(1, 6))
def test_the_order_in_which_the_ready_are_named_is_no_matter(state, max_voters) -> None:
    current, roster, departed, health = state
    told = view(sorted(roster), sorted(departed))
    turned = Health(health.ready[::-1], health.silent[::-1], health.lost)
    assert next_configuration(current, told, health, max_voters) == next_configuration(
        current, told, turned, max_voters
    )
