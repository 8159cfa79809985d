"""Exchanges broken at every chunk, and neighbours that break the rules: refused by the contract, without a trace."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np
import pytest

from raftgossip.ids import Address, NodeId
from raftgossip.runtime.exchange import EdgeOutcome
from raftgossip.wire.update_codec import MAX_HEADER_BYTES, encode_end
from tests.support.exchange import (
    NUM_ELEMENTS,
    ExchangeNode,
    Make,
    RecordingSink,
    data_frames,
    dialling,
    edge,
    header,
    raw_server,
    vector_of,
)

FRAMES = data_frames(vector_of(1))
"""What node 1 sends after its header: three chunks and the end record."""
NUM_CHUNKS = len(FRAMES) - 1


def assert_next_step_works(two: ExchangeNode, step: int = 1) -> None:
    """The node answers the edge of another step as if nothing had been."""
    sink = RecordingSink()
    running = two.start_step(two.work((edge(1, sink),), step=step))
    with dialling(two.address, [header(step=step), *FRAMES]) as dial:
        dial.half_close()
        frames, code = dial.read()
    assert running.result(20) == {1: EdgeOutcome(4 * NUM_ELEMENTS, 4 * NUM_ELEMENTS)}
    assert (frames[1:], code) == (data_frames(vector_of(2)), grpc.StatusCode.OK)
    assert sink.vector.tobytes() == vector_of(1).tobytes()


def poisoned(value: float) -> list[bytes]:
    vector = vector_of(1)
    vector[9] = value
    return data_frames(vector)


# --- the answering side


@pytest.mark.parametrize("num_chunks", range(NUM_CHUNKS + 1))
def test_a_dialler_that_hangs_up_after_any_chunk_leaves_no_trace(make: Make, num_chunks: int) -> None:
    two, sink = make(2), RecordingSink()
    step = two.start_step(two.work((edge(1, sink),)))
    with dialling(two.address, [header(), *FRAMES[:num_chunks]]) as dial:
        assert sink.opened.wait(10)
        assert all(sink.folded.acquire(timeout=10) for _ in range(num_chunks))

        dial.cancel()

        outcome = step.result(20)[NodeId(1)]
    assert outcome.error
    assert not outcome.refused
    assert outcome.received_bytes == 0
    assert sink.discarded.wait(10)
    assert not sink.completed.is_set()
    assert_next_step_works(two)


@pytest.mark.parametrize("num_chunks", range(NUM_CHUNKS + 1))
def test_a_dialler_that_ends_its_stream_after_any_chunk_is_told_and_leaves_no_trace(
    make: Make, num_chunks: int
) -> None:
    two, sink = make(2), RecordingSink()
    step = two.start_step(two.work((edge(1, sink),)))
    with dialling(two.address, [header(), *FRAMES[:num_chunks]]) as dial:
        dial.half_close()

        assert dial.read()[1] is grpc.StatusCode.UNAVAILABLE
    outcome = step.result(20)[NodeId(1)]
    assert "before its end record" in outcome.error
    assert not outcome.refused
    assert sink.discarded.is_set() and not sink.completed.is_set()
    assert_next_step_works(two)


def test_a_dialler_that_hangs_up_after_its_end_record_but_does_not_close_is_not_counted(make: Make) -> None:
    two, sink = make(2), RecordingSink()
    step = two.start_step(two.work((edge(1, sink),)))
    with dialling(two.address, [header(), *FRAMES]) as dial:
        assert all(sink.folded.acquire(timeout=10) for _ in range(NUM_CHUNKS))

        dial.cancel()

        assert step.result(20)[NodeId(1)].error
    assert sink.discarded.wait(10) and not sink.completed.is_set()


def test_a_dialler_that_stalls_delays_the_step_by_its_time_only_and_is_sent_away(make: Make) -> None:
    two, sink = make(2), RecordingSink()
    step = two.start_step(two.work((edge(1, sink),), timeout_s=0.3))
    with dialling(two.address, [header(), FRAMES[0]], timeout_s=None) as dial:
        outcome = step.result(20)[NodeId(1)]

        assert dial.read()[1] is grpc.StatusCode.CANCELLED
    assert "did not come in time" in outcome.error
    assert sink.discarded.wait(10) and not sink.completed.is_set()
    assert_next_step_works(two)


Case = tuple[list[bytes], str, bool]

CASES: dict[str, Case] = {
    "more bytes announced than the plan says": ([header(byte_count=4000)], "RESOURCE_EXHAUSTED", True),
    "fewer bytes announced": ([header(byte_count=76)], "INVALID_ARGUMENT", True),
    "another range": ([header(start=1, stop=21)], "INVALID_ARGUMENT", True),
    "another model": ([header(schema_digest=b"t" * 32)], "INVALID_ARGUMENT", True),
    "another plan": ([header(plan_digest=b"q" * 32)], "INVALID_ARGUMENT", True),
    "an unknown codec": ([header(codec="zip")], "INVALID_ARGUMENT", True),
    "a mass that is no number": ([header(mass=float("nan"))], "INVALID_ARGUMENT", True),
    "a negative mass": ([header(mass=-1.0)], "INVALID_ARGUMENT", True),
    "chunks of no size": ([header(chunk_bytes=0)], "INVALID_ARGUMENT", True),
    "meant for another node": ([header(receiver=3)], "PERMISSION_DENIED", True),
    "another cluster: a stranger, not the neighbour": ([header(cluster_id="c2")], "PERMISSION_DENIED", False),
    "NaN": ([header(), *poisoned(float("nan"))], "INVALID_ARGUMENT", True),
    "infinity": ([header(), *poisoned(float("inf"))], "INVALID_ARGUMENT", True),
    "a short chunk": ([header(), FRAMES[0][:-4], *FRAMES[1:]], "INVALID_ARGUMENT", True),
    "a long chunk": ([header(), FRAMES[0] + bytes(4), *FRAMES[1:]], "INVALID_ARGUMENT", True),
    "a chunk missing": ([header(), FRAMES[0], *FRAMES[2:]], "INVALID_ARGUMENT", True),
    "chunks swapped": ([header(), FRAMES[1], FRAMES[0], *FRAMES[2:]], "DATA_LOSS", True),
    "a flipped bit": ([header(), bytes([FRAMES[0][0] ^ 1]) + FRAMES[0][1:], *FRAMES[1:]], "DATA_LOSS", True),
    "another hash": ([header(), *FRAMES[:-1], encode_end(80, b"h" * 32)], "DATA_LOSS", True),
    "another count": ([header(), *FRAMES[:-1], encode_end(84, b"h" * 32)], "DATA_LOSS", True),
    "a chunk too many": ([header(), *FRAMES[:-1], FRAMES[0], FRAMES[-1]], "INVALID_ARGUMENT", True),
    "more after the end": ([header(), *FRAMES, FRAMES[-1]], "INVALID_ARGUMENT", True),
}


@pytest.mark.parametrize("name", CASES)
def test_what_breaks_the_rules_is_answered_by_the_contract_and_leaves_no_trace(make: Make, name: str) -> None:
    frames, code, is_refused = CASES[name]
    two, sink = make(2), RecordingSink()
    step = two.start_step(two.work((edge(1, sink),)))

    with dialling(two.address, frames) as dial:
        dial.half_close()
        answered = dial.read()[1]
        details = dial.details()

    outcome = step.result(20)[NodeId(1)]
    assert answered.name == code
    assert details and details in outcome.error
    assert outcome.refused is is_refused
    assert outcome.received_bytes == 0
    assert not sink.completed.is_set()
    assert sink.discarded.is_set() is sink.opened.is_set()
    assert_next_step_works(two)


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([bytes(MAX_HEADER_BYTES + 1)], grpc.StatusCode.RESOURCE_EXHAUSTED),
        ([b"\xff"], grpc.StatusCode.INVALID_ARGUMENT),
        ([bytes(5 << 20)], grpc.StatusCode.RESOURCE_EXHAUSTED),
        ([], grpc.StatusCode.UNAVAILABLE),
    ],
    ids=["header too long", "no header", "message above four MiB", "nothing at all"],
)
def test_what_is_no_header_takes_nobodys_place(make: Make, frames: list[bytes], code: grpc.StatusCode) -> None:
    two, sink = make(2), RecordingSink()
    step = two.start_step(two.work((edge(1, sink),)))

    with dialling(two.address, frames) as dial:
        dial.half_close()
        assert dial.read() == ([], code)

    assert not step.done()
    with dialling(two.address, [header(), *FRAMES]) as dial:
        dial.half_close()
        assert dial.read()[1] is grpc.StatusCode.OK
    assert step.result(20)[NodeId(1)].error == ""


def test_data_in_a_direction_that_should_be_silent_is_refused(make: Make) -> None:
    two, sink = make(2), RecordingSink()
    step = two.start_step(two.work((edge(1, sink, receives=None),)))

    with dialling(two.address, [header(start=0, stop=0, byte_count=0), FRAMES[0]]) as dial:
        dial.half_close()
        assert dial.read()[1] is grpc.StatusCode.INVALID_ARGUMENT

    assert step.result(20)[NodeId(1)].refused
    assert not sink.completed.is_set()


def test_a_sink_that_fails_is_a_bug_of_ours_and_says_so_without_its_insides(make: Make) -> None:
    class BrokenSink(RecordingSink):
        """Its folding fails."""

        def fold(self, start: int, span: object) -> None:
            raise ZeroDivisionError("secret")

    two, sink = make(2), BrokenSink()
    two.start_step(two.work((edge(1, sink),), timeout_s=0.5))

    with dialling(two.address, [header(), *FRAMES]) as dial:
        dial.half_close()
        assert dial.read()[1] is grpc.StatusCode.INTERNAL
        assert "secret" not in dial.details()
    assert sink.discarded.is_set()


# --- the dialling side: this node is 1, its neighbour 2 answers wrongly


def header_of_two(**changes: object) -> bytes:
    return header(**{"sender": 2, "receiver": 1, **changes})


FRAMES_OF_TWO = data_frames(vector_of(2))


def outcome_with(frames: list[bytes], error: grpc.StatusCode | None = None) -> tuple[EdgeOutcome, RecordingSink]:
    """Dial a neighbour that answers with these frames, and then with a status."""

    def answer(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        yield from frames
        for _ in requests:
            pass
        if error is not None:
            context.abort(error, "I do not like it")

    sink = RecordingSink()
    with raw_server(answer) as address:
        addresses: dict[NodeId, Address] = {}
        one = ExchangeNode(1, addresses)
        try:
            work = one.work((edge(2, sink),))
            addresses[NodeId(2)] = address
            return one.start_step(work).result(20)[NodeId(2)], sink
        finally:
            one.close()


DIALLED: dict[str, tuple[list[bytes], bool]] = {
    "nothing": ([], False),
    "no header": ([b"\xff"], True),
    "a header too long": ([bytes(MAX_HEADER_BYTES + 1)], True),
    "another model": ([header_of_two(schema_digest=b"t" * 32)], True),
    "another node": ([header_of_two(sender=3)], True),
    "another epoch": ([header_of_two(epoch=4)], False),
    "too many bytes announced": ([header_of_two(byte_count=4000)], True),
    "no data": ([header_of_two()], False),
    "some data": ([header_of_two(), *FRAMES_OF_TWO[:2]], False),
    "no end record": ([header_of_two(), *FRAMES_OF_TWO[:-1]], False),
    "a short chunk": ([header_of_two(), FRAMES_OF_TWO[0][:-4]], True),
    "NaN": ([header_of_two(), *poisoned(float("nan"))], True),
    "another hash": ([header_of_two(), *FRAMES_OF_TWO[:-1], encode_end(80, b"h" * 32)], True),
    "more after the end": ([header_of_two(), *FRAMES_OF_TWO, FRAMES_OF_TWO[0]], True),
}


@pytest.mark.parametrize("name", DIALLED)
def test_an_answer_that_breaks_the_rules_leaves_no_trace(name: str) -> None:
    frames, is_refused = DIALLED[name]

    outcome, sink = outcome_with(frames)

    assert "node 2" in outcome.error
    assert outcome.refused is is_refused
    assert outcome.received_bytes == 0
    assert not sink.completed.is_set()
    assert sink.discarded.is_set() is sink.opened.is_set()


def test_a_whole_answer_is_taken() -> None:
    outcome, sink = outcome_with([header_of_two(), *FRAMES_OF_TWO])

    assert outcome == EdgeOutcome(4 * NUM_ELEMENTS, 4 * NUM_ELEMENTS)
    assert np.array_equal(sink.vector, vector_of(2))


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_a_neighbour_that_refuses_our_data_is_never_accused_for_it(code: grpc.StatusCode) -> None:
    outcome, sink = outcome_with([header_of_two(), *FRAMES_OF_TWO], code)

    assert "I do not like it" in outcome.error
    assert not outcome.refused
    assert sink.discarded.is_set() and not sink.completed.is_set()
