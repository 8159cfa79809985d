"""Exchanges between hubs over real sockets: whole steps, the waiting room, stops, and what remains afterwards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from raftgossip.errors import Busy, DeadlineExceeded, StaleEpoch
from raftgossip.ids import NodeId
from raftgossip.runtime.exchange import Cancellation, EdgeOutcome, ExchangeHub
from raftgossip.runtime.exchange_room import MAX_WAITING
from raftgossip.trust.callers import Caller
from tests.support.exchange import (
    NUM_ELEMENTS,
    Make,
    RecordingSink,
    data_frames,
    dialling,
    edge,
    header,
    vector_of,
)
from tests.support.fakes import FakeContext

NUM_BYTES = 4 * NUM_ELEMENTS
WHOLE_OUTCOME = EdgeOutcome(NUM_BYTES, NUM_BYTES)

# --- whole steps


def test_a_step_of_two_folds_exactly_the_neighbours_vector_both_ways(make: Make) -> None:
    one, two = make(1), make(2)
    sinks = [RecordingSink(), RecordingSink()]

    steps = [one.start_step(one.work((edge(2, sinks[0]),))), two.start_step(two.work((edge(1, sinks[1]),)))]

    assert [step.result(20) for step in steps] == [{2: WHOLE_OUTCOME}, {1: WHOLE_OUTCOME}]
    assert sinks[0].vector.tobytes() == vector_of(2).tobytes()
    assert sinks[1].vector.tobytes() == vector_of(1).tobytes()
    assert [sink.mass for sink in sinks] == [2.0, 1.0]
    assert all(sink.completed.is_set() and not sink.discarded.is_set() for sink in sinks)


def test_three_nodes_exchange_all_with_all_in_one_step(make: Make) -> None:
    nodes = [make(node_id) for node_id in (1, 2, 3)]
    sinks = {(a.node_id, b.node_id): RecordingSink() for a in nodes for b in nodes if a is not b}

    steps = [
        node.start_step(
            node.work(tuple(edge(other, sink) for (mine, other), sink in sinks.items() if mine == node.node_id))
        )
        for node in nodes
    ]

    for node, step in zip(nodes, steps, strict=True):
        assert step.result(20) == {other.node_id: WHOLE_OUTCOME for other in nodes if other is not node}
    for (_, other), sink in sinks.items():
        assert sink.vector.tobytes() == vector_of(other).tobytes()


def test_one_thread_in_each_hub_is_enough_to_finish(make: Make) -> None:
    nodes = [make(node_id, max_threads=1) for node_id in (1, 2, 3)]

    steps = [
        node.start_step(node.work(tuple(edge(other.node_id, RecordingSink()) for other in nodes if other is not node)))
        for node in nodes
    ]

    assert all(outcome == WHOLE_OUTCOME for step in steps for outcome in step.result(20).values())


def test_many_steps_follow_each_other_over_the_same_channels(make: Make) -> None:
    one, two = make(1), make(2)
    for step_index in range(20):
        sinks = [RecordingSink(), RecordingSink()]
        steps = [
            one.start_step(one.work((edge(2, sinks[0]),), step=step_index)),
            two.start_step(two.work((edge(1, sinks[1]),), step=step_index)),
        ]
        assert [step.result(20) for step in steps] == [{2: WHOLE_OUTCOME}, {1: WHOLE_OUTCOME}]


def test_a_vector_of_many_chunks_arrives_bit_for_bit(make: Make) -> None:
    one, two = make(1), make(2)
    num_elements = 3_000_001
    large = [np.random.default_rng(seed).standard_normal(num_elements).astype(np.float32) for seed in (1, 2)]
    sinks = [RecordingSink(num_elements), RecordingSink(num_elements)]
    span = (0, num_elements)

    steps = [
        one.start_step(one.work((edge(2, sinks[0], span, span),), vector=large[0], chunk_bytes=1 << 20)),
        two.start_step(two.work((edge(1, sinks[1], span, span),), vector=large[1], chunk_bytes=1 << 20)),
    ]

    assert [outcome.error for step in steps for outcome in step.result(20).values()] == ["", ""]
    assert sinks[0].vector.tobytes() == large[1].tobytes()
    assert sinks[1].vector.tobytes() == large[0].tobytes()


@pytest.mark.parametrize(("ones", "twos"), [((0, 20), None), (None, (0, 20)), ((3, 9), (9, 20)), (None, None)])
def test_each_direction_carries_its_own_span_or_nothing(
    make: Make, ones: tuple[int, int] | None, twos: tuple[int, int] | None
) -> None:
    one, two = make(1), make(2)
    sinks = [RecordingSink(), RecordingSink()]

    steps = [
        one.start_step(one.work((edge(2, sinks[0], sends=ones, receives=twos),))),
        two.start_step(two.work((edge(1, sinks[1], sends=twos, receives=ones),))),
    ]

    sizes = [4 * (span[1] - span[0]) if span else 0 for span in (ones, twos)]
    assert steps[0].result(20) == {2: EdgeOutcome(sizes[0], sizes[1])}
    assert steps[1].result(20) == {1: EdgeOutcome(sizes[1], sizes[0])}
    for sink, sender, span in ((sinks[0], 2, twos), (sinks[1], 1, ones)):
        start, stop = span or (0, 0)
        assert sink.vector[start:stop].tobytes() == vector_of(sender)[start:stop].tobytes()
        assert np.isnan(sink.vector).sum() == NUM_ELEMENTS - (stop - start)


def test_a_span_of_length_zero_completes_without_data(make: Make) -> None:
    one, two = make(1), make(2)
    sinks = [RecordingSink(), RecordingSink()]

    steps = [
        one.start_step(one.work((edge(2, sinks[0], (5, 5), (7, 7)),))),
        two.start_step(two.work((edge(1, sinks[1], (7, 7), (5, 5)),))),
    ]

    assert [step.result(20) for step in steps] == [{2: EdgeOutcome(0, 0)}, {1: EdgeOutcome(0, 0)}]
    assert all(sink.completed.is_set() for sink in sinks)


def test_a_neighbour_whose_address_is_unknown_fails_its_edge_only(make: Make) -> None:
    one, two = make(1), make(2)
    sink = RecordingSink()

    steps = [
        one.start_step(one.work((edge(2, sink), edge(9, RecordingSink())))),
        two.start_step(two.work((edge(1, RecordingSink()),))),
    ]

    outcomes = steps[0].result(20)
    assert outcomes[NodeId(2)] == WHOLE_OUTCOME
    assert "no address is known for node 9" in outcomes[NodeId(9)].error
    assert not outcomes[NodeId(9)].refused


def test_a_neighbour_that_does_not_listen_is_missing_and_not_accused(make: Make) -> None:
    one, two = make(1), make(2)
    two.close()

    outcome = one.start_step(one.work((edge(2, RecordingSink()),))).result(20)[NodeId(2)]

    assert outcome.error
    assert not outcome.refused


def test_a_neighbour_that_moved_is_dialled_at_its_new_address(make: Make) -> None:
    one = make(1)
    for attempt in (1, 2):
        answering = make(2)  # the second one takes over the id of the first
        steps = [
            one.start_step(one.work((edge(2, RecordingSink()),), attempt=attempt)),
            answering.start_step(answering.work((edge(1, RecordingSink()),), attempt=attempt)),
        ]
        assert [step.result(20) for step in steps] == [{2: WHOLE_OUTCOME}, {1: WHOLE_OUTCOME}]


# --- the waiting room


def wait_in(hub: ExchangeHub, frames: list[bytes], context: FakeContext) -> list[bytes]:
    return list(hub.serve(iter(frames), context, Caller(None)))  # type: ignore[arg-type]


def test_a_dialler_that_comes_early_waits_for_the_round(make: Make) -> None:
    two = make(2)
    sink = RecordingSink()
    context = FakeContext()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(wait_in, two.hub, [header(), *data_frames(vector_of(1))], context)
        assert context.waits.wait(10)

        step = two.start_step(two.work((edge(1, sink),)))

        assert step.result(20) == {1: WHOLE_OUTCOME}
        assert waiting.result(20)[1:] == data_frames(vector_of(2))
    assert sink.vector.tobytes() == vector_of(1).tobytes()


@pytest.mark.parametrize("place", [(4, 1, 0), (5, 1, 0), (5, 2, 0)])
def test_a_dialler_that_waits_for_what_is_over_is_sent_away(make: Make, place: tuple[int, int, int]) -> None:
    two = make(2)
    context = FakeContext()
    epoch, attempt, step = place
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(wait_in, two.hub, [header(epoch=epoch, attempt=attempt, step=step)], context)
        assert context.waits.wait(10)

        two.hub.advance(5, 3)

        with pytest.raises(StaleEpoch, match=f"epoch {epoch} attempt {attempt}"):
            waiting.result(20)


@pytest.mark.parametrize("changes", [{"epoch": 4}, {"epoch": 5, "attempt": 2}])
def test_a_dialler_that_comes_too_late_hears_out_of_range(make: Make, changes: dict[str, int]) -> None:
    two = make(2)
    two.hub.advance(5, 3)

    with dialling(two.address, [header(**changes)]) as dial:
        assert dial.read() == ([], grpc.StatusCode.OUT_OF_RANGE)


def test_a_dialler_of_a_step_that_is_over_hears_out_of_range_at_once(make: Make) -> None:
    two = make(2)
    outcomes = two.start_step(two.work((edge(1, RecordingSink()),), timeout_s=0.05)).result(20)
    assert "did not come in time" in outcomes[NodeId(1)].error

    with dialling(two.address, [header()]) as dial:
        assert dial.read() == ([], grpc.StatusCode.OUT_OF_RANGE)


def test_a_second_dialler_for_the_same_edge_hears_already_exists(make: Make) -> None:
    two = make(2)
    sink = RecordingSink()
    step = two.start_step(two.work((edge(1, sink),)))
    frames = [header(), *data_frames(vector_of(1))]
    with dialling(two.address, frames[:1]) as first, dialling(two.address, []) as second:
        assert sink.opened.wait(10)
        second.send(frames[0])

        assert second.read() == ([], grpc.StatusCode.ALREADY_EXISTS)

        for frame in frames[1:]:
            first.send(frame)
        first.half_close()
        assert first.read()[1] is grpc.StatusCode.OK
    assert step.result(20) == {1: WHOLE_OUTCOME}


@pytest.mark.parametrize("changes", [{"epoch": 6}, {"step": 1}, {"sender": 9}])
def test_a_dialler_that_nobody_expects_waits_no_longer_than_its_own_deadline(
    make: Make, changes: dict[str, int]
) -> None:
    two = make(2)
    step = two.start_step(two.work((edge(1, RecordingSink()),)))

    with dialling(two.address, [header(**changes)], timeout_s=0.2) as dial:
        assert dial.read() == ([], grpc.StatusCode.DEADLINE_EXCEEDED)
    assert not step.done()


def test_a_waiting_dialler_whose_time_is_up_is_told_so(make: Make) -> None:
    with pytest.raises(DeadlineExceeded, match="epoch 5 step 0"):
        wait_in(make(2).hub, [header()], FakeContext(remaining_s=0.05))


def test_a_waiting_dialler_that_hangs_up_frees_its_place(make: Make) -> None:
    two = make(2)
    context = FakeContext()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(wait_in, two.hub, [header()], context)
        assert context.waits.wait(10)

        context.cancel()

        with pytest.raises(DeadlineExceeded):
            waiting.result(20)
    assert two.hub._room._num_waiting == 0


def test_a_full_waiting_room_refuses_the_next_and_lets_the_others_wait(make: Make) -> None:
    two = make(2)
    contexts = [FakeContext() for _ in range(MAX_WAITING)]
    with ThreadPoolExecutor(MAX_WAITING) as threads:
        waiting = [threads.submit(wait_in, two.hub, [header(epoch=7)], context) for context in contexts]
        assert all(context.waits.wait(10) for context in contexts)

        with dialling(two.address, [header()]) as dial:
            assert dial.read() == ([], grpc.StatusCode.RESOURCE_EXHAUSTED)
        with pytest.raises(Busy):
            wait_in(two.hub, [header()], FakeContext())
        assert not any(future.done() for future in waiting)

        two.hub.advance(8, 1)
        assert all(isinstance(future.exception(20), StaleEpoch) for future in waiting)


# --- stops


def test_a_stop_ends_a_step_that_nobody_dials(make: Make) -> None:
    two, stop = make(2), Cancellation()
    step = two.start_step(two.work((edge(1, RecordingSink()),), timeout_s=100), stop)

    stop.cancel()

    assert step.result(20)[NodeId(1)].error


def test_a_stop_ends_a_step_that_nobody_answers(make: Make) -> None:
    one, two, stop = make(1), make(2), Cancellation()
    step = one.start_step(one.work((edge(2, RecordingSink()),), timeout_s=100), stop)

    stop.cancel()

    outcome = step.result(20)[NodeId(2)]
    assert outcome.error
    assert not outcome.refused
    two.hub.advance(6, 1)


def test_a_stop_amid_a_transfer_ends_it_on_both_sides(make: Make) -> None:
    two, stop, sink = make(2), Cancellation(), RecordingSink()
    step = two.start_step(two.work((edge(1, sink),), timeout_s=100), stop)
    with dialling(two.address, [header(), data_frames(vector_of(1))[0]], timeout_s=100) as dial:
        assert sink.folded.acquire(timeout=10)

        stop.cancel()

        assert step.result(20)[NodeId(1)].error
        assert dial.read()[1] is grpc.StatusCode.CANCELLED
    assert sink.discarded.wait(10)
    assert not sink.completed.is_set()


def test_a_stop_before_the_step_lets_nothing_begin(make: Make) -> None:
    one, two, stop = make(1), make(2), Cancellation()
    stop.cancel()

    assert one.start_step(one.work((edge(2, RecordingSink()),), timeout_s=100), stop).result(20)[NodeId(2)].error
    assert two.start_step(two.work((edge(1, RecordingSink()),), timeout_s=100), stop).result(20)[NodeId(1)].error


def test_a_stop_after_a_whole_step_changes_nothing(make: Make) -> None:
    one, two = make(1), make(2)
    stops = [Cancellation(), Cancellation()]
    for attempt in (1, 2):
        steps = [
            one.start_step(one.work((edge(2, RecordingSink()),), attempt=attempt), stops[0]),
            two.start_step(two.work((edge(1, RecordingSink()),), attempt=attempt), stops[1]),
        ]
        assert [step.result(20) for step in steps] == [{2: WHOLE_OUTCOME}, {1: WHOLE_OUTCOME}]
        for stop in stops:
            stop.cancel()
        stops = [Cancellation(), Cancellation()]


def test_hooks_of_a_stop_run_once_each_even_when_added_late() -> None:
    stop, ran = Cancellation(), []
    stop.add_hook(lambda: ran.append("early"))

    stop.cancel()
    stop.cancel()
    stop.add_hook(lambda: ran.append("late"))

    assert ran == ["early", "late"]
    assert stop
