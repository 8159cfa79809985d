"""One epoch at this peer: train, exchange step by step, mix, report; cancelled when its epoch closes.

Level-triggered: `notify` says that the ledger moved, and the loop looks at what the ledger says now. So a missed or
repeated notification does no harm, and after a restart the newest epoch wins by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

from raftgossip.core.epoch.command import Command, EpochRecord, FailedEdge, OpenEpochState, ReportEpoch
from raftgossip.core.epoch.config import RunSpec
from raftgossip.core.epoch.ledger import LedgerView
from raftgossip.core.epoch.sightings import Sightings
from raftgossip.errors import TrainingFailed, TrainingStopped, TransportError
from raftgossip.ids import Epoch, NodeId
from raftgossip.learning.algorithm import Algorithm, State, make_algorithm
from raftgossip.learning.seeds import derive_seed
from raftgossip.learning.trainer import Trainer
from raftgossip.peer.attempt import AttemptResult, AttemptWork, run_attempt
from raftgossip.peer.catch_up import ModelSource, fetch_closed_model
from raftgossip.peer.models import Models
from raftgossip.peer.planning import epoch_plan
from raftgossip.runtime.clock import Clock
from raftgossip.runtime.exchange import Cancellation, ExchangeHub
from raftgossip.update import FloatVector, vector_digest

RETRY_CATCH_UP_S = 0.5
EXCHANGE_SHARE = 0.8
"""Of the exchange deadline: the round gives up sooner than the leader, so that it can still report what failed."""

T = TypeVar("T")
Propose = Callable[[Command, Callable[[], bool]], Awaitable[None]]
"""Get a command applied; gives up when the second argument turns False."""


@dataclass(slots=True)
class _Candidate:
    """The outcome of this node's newest complete attempt; the ledger decides whether it counts."""

    epoch: int
    attempt: int
    digest: bytes
    model: FloatVector
    metrics: tuple[tuple[str, float], ...]


class Round:
    """Runs this peer's part of every epoch. Its methods run on the event loop; the work runs in `threads`.

    Invariant: `model` is the model of the closed epoch `settled_epoch` (0: the common initial model), or None before
    it was settled.
    """

    def __init__(
        self,
        node_id: NodeId,
        cluster_id: str,
        trainer: Trainer,
        hub: ExchangeHub,
        models: Models,
        source: ModelSource,
        view: Callable[[], LedgerView],
        propose: Propose,
        clock: Clock,
        threads: Executor,
        on_rest: Callable[[], None],
        tell: Callable[[str], None],
    ) -> None:
        """`on_rest` is called whenever there is nothing more to do for now; `tell` takes sentences for the operator."""
        self._node_id = node_id
        self._cluster_id = cluster_id
        self._trainer = trainer
        self._hub = hub
        self._models = models
        self._source = source
        self._view = view
        self._propose = propose
        self._clock = clock
        self._threads = threads
        self._on_rest = on_rest
        self._tell = tell
        self._changed = asyncio.Event()
        self._active: tuple[int, int, Cancellation] | None = None
        self._candidate: _Candidate | None = None
        self._left_out_of = 0
        self._sightings = Sightings()
        self.model: FloatVector | None = None
        self.model_digest = b""
        self.settled_epoch = -1
        self.phase = "waiting"
        self.message = ""
        self.metrics: tuple[tuple[str, float], ...] = ()

    # --- what the ledger says

    def notify(self) -> None:
        """The ledger moved: stop what is obsolete and look again. Never blocks."""
        view = self._view()
        opened = view.open_epoch
        self._sightings.observe(view, self._clock.now_ms())
        if opened is not None:
            self._hub.advance(opened.epoch, opened.attempt)
        if self._active is not None:
            epoch, attempt, stop = self._active
            if opened is None or opened.epoch != epoch or (attempt and opened.attempt != attempt):
                stop.cancel()
        self._changed.set()

    async def run(self) -> None:
        """Serve epochs until cancelled; a running thread is told to stop and waited for.

        Raises:
            StorageError: a closed model could not be kept.
        """
        while True:
            self._changed.clear()
            view = self._view()
            opened = view.open_epoch
            if view.specification is not None and not self._is_settled(view):
                await self._settle(view)
            elif opened is not None and self._takes_part(opened):
                await self._run_epoch(view.specification, opened)
            else:
                self.phase = "finished" if view.run_finished else "waiting"
                self._on_rest()
                await self._changed.wait()

    def stop(self) -> None:
        """Tell the working thread to stop soon."""
        if self._active is not None:
            self._active[2].cancel()

    def _takes_part(self, opened: OpenEpochState) -> bool:
        return self._node_id in opened.participants and opened.epoch != self._left_out_of

    def _is_settled(self, view: LedgerView) -> bool:
        return self.model is not None and self.settled_epoch == _closed_epoch(view.last_closed)

    async def _until_moved(self, epoch: int, attempt: int) -> OpenEpochState | None:
        """Wait for the next attempt of this epoch that includes this node; None: there is none."""
        while True:
            opened = self._view().open_epoch
            if opened is None or opened.epoch != epoch or self._node_id not in opened.participants:
                return None
            if opened.attempt > attempt:
                return opened
            self._changed.clear()
            await self._changed.wait()

    # --- settling: holding the model that the ledger says

    async def _settle(self, view: LedgerView) -> None:
        record = view.last_closed
        candidate = self._candidate
        if record is not None and candidate is not None and _counts(candidate, record, self._node_id):
            await self._adopt(record.epoch, candidate.digest, candidate.model)
            self.metrics = candidate.metrics
            return
        if record is not None and self.model is not None and self._view_is_approximate(view):
            self.settled_epoch = record.epoch  # every peer has a model of its own; ours only missed an epoch
            return
        holders = record.digests if record is not None else ()
        wanted = [digest for _, digest in holders] if record is not None else [view.initial_digest]
        held = await self._in_thread(self._models.find, wanted)
        if held is None and record is None:
            held = await self._initial(view)
        if held is None:
            held = await self._fetch(view, holders)
        if held is not None:
            await self._adopt(_closed_epoch(record), *held)

    async def _initial(self, view: LedgerView) -> tuple[bytes, FloatVector] | None:
        assert view.specification is not None
        vector = await self._in_thread(self._trainer.initial_vector, view.specification.seed)
        digest = await self._in_thread(vector_digest, vector)
        return (digest, vector) if digest == view.initial_digest else None

    async def _fetch(
        self, view: LedgerView, holders: tuple[tuple[NodeId, bytes], ...]
    ) -> tuple[bytes, FloatVector] | None:
        self.phase = "catching_up"
        if not holders:
            holders = tuple((entry.node_id, view.initial_digest) for entry in view.roster)
        others = [(node, digest) for node, digest in holders if node != self._node_id]
        assert view.specification is not None
        try:
            fetched = await fetch_closed_model(self._source, others, view.specification.num_elements)
        except TransportError as error:
            self._complain(str(error))
            await asyncio.sleep(RETRY_CATCH_UP_S)  # a holder may be restarting; the ledger may have moved on
            return None
        self.message = ""
        return fetched

    async def _adopt(self, epoch: int, digest: bytes, model: FloatVector) -> None:
        await self._in_thread(self._models.commit, digest, model)
        self.model, self.model_digest, self.settled_epoch = model, digest, epoch

    def _view_is_approximate(self, view: LedgerView) -> bool:
        return view.specification is not None and not make_algorithm(view.specification.algorithm).needs_exact

    # --- one epoch

    async def _run_epoch(self, spec: RunSpec | None, opened: OpenEpochState) -> None:
        assert spec is not None and self.model is not None
        started_ms = self._clock.now_ms()
        self._left_out_of = opened.epoch  # set first: whatever happens, this epoch is not begun twice
        algorithm = make_algorithm(spec.algorithm)
        self.phase = "training"
        stop = Cancellation()
        self._active = (opened.epoch, 0, stop)
        try:
            state = await self._in_thread(self._train, spec, opened.epoch, algorithm, self.model, stop)
        except TrainingStopped:
            return
        except TrainingFailed as error:
            self._complain(f"epoch {opened.epoch}: {error}")
            await self._report(opened.epoch, opened.attempt, error=str(error))
            return
        finally:
            self._active = None
        attempt: OpenEpochState | None = await self._until_moved(opened.epoch, 0)
        deadline_ms = started_ms + spec.train_deadline_ms
        while attempt is not None:
            deadline_ms += int(EXCHANGE_SHARE * spec.exchange_deadline_ms)
            await self._run_attempt(spec, attempt, algorithm, state, deadline_ms)
            attempt = await self._until_moved(attempt.epoch, attempt.attempt)
            deadline_ms = self._clock.now_ms()
            if attempt is not None and not self._sightings.trained.issuperset(attempt.participants):
                deadline_ms = max(deadline_ms, started_ms + spec.train_deadline_ms)  # some may train still

    def _train(self, spec: RunSpec, epoch: int, algorithm: Algorithm, base: FloatVector, stop: Cancellation) -> State:
        seed = derive_seed(spec.seed, self._node_id, epoch, "train")
        trained = self._trainer.train(base, spec.local_passes, seed, lambda: bool(stop))
        return algorithm.local_update(algorithm.init(base, self._trainer.num_samples), trained)

    async def _run_attempt(
        self, spec: RunSpec, opened: OpenEpochState, algorithm: Algorithm, state: State, deadline_ms: int
    ) -> None:
        plan = epoch_plan(spec, opened.participants, opened.epoch)
        if plan.digest != opened.plan_digest:
            reason = "this node derives another exchange plan than the leader: do all nodes run the same version?"
            self._complain(reason)
            await self._report(opened.epoch, opened.attempt, error=reason)
            return
        self.phase = "exchanging"
        stop = Cancellation()
        self._active = (opened.epoch, opened.attempt, stop)
        work = AttemptWork(
            self._cluster_id,
            opened.epoch,
            opened.attempt,
            self._node_id,
            spec.schema_digest,
            plan,
            deadline_ms,
        )
        try:
            result = await self._in_thread(run_attempt, work, algorithm, state, self._hub, self._clock, stop)
            await self._conclude(opened, result, stop)
        finally:
            self._active = None

    async def _conclude(self, opened: OpenEpochState, result: AttemptResult, stop: Cancellation) -> None:
        if stop:
            return
        digest = b""
        metrics: tuple[tuple[str, float], ...] = ()
        if result.model is not None:
            try:
                digest, metrics = await self._in_thread(self._judge, result.model)
            except TrainingFailed as error:
                self._complain(f"epoch {opened.epoch}: {error}")
                await self._report(opened.epoch, opened.attempt, result, error=str(error))
                return
            self._candidate = _Candidate(opened.epoch, opened.attempt, digest, result.model, metrics)
            await self._in_thread(self._models.offer, digest, result.model)
        await self._report(opened.epoch, opened.attempt, result, digest, metrics)

    def _judge(self, model: FloatVector) -> tuple[bytes, tuple[tuple[str, float], ...]]:
        return vector_digest(model), tuple(sorted(self._trainer.evaluate(model).items()))

    async def _report(
        self,
        epoch: int,
        attempt: int,
        result: AttemptResult | None = None,
        digest: bytes = b"",
        metrics: tuple[tuple[str, float], ...] = (),
        error: str = "",
    ) -> None:
        self.phase = "reporting"
        failed: tuple[FailedEdge, ...] = result.failed_edges if result is not None else ()
        if failed:
            self.message = f"epoch {epoch} attempt {attempt}: " + "; ".join(edge.reason for edge in failed)[:500]
        report = ReportEpoch(
            epoch=Epoch(epoch),
            attempt=attempt,
            node_id=self._node_id,
            digest=digest,
            num_samples=self._trainer.num_samples,
            metrics=metrics,
            links=result.links if result is not None else (),
            failed_edges=failed,
            error=error[:1000],
        )
        await self._propose(report, lambda: self._still_open(epoch, attempt))

    def _complain(self, text: str) -> None:
        """Something went wrong here that a person should read, in `status` and, once, in the log."""
        if text != self.message:
            self._tell(text)
        self.message = text

    def _still_open(self, epoch: int, attempt: int) -> bool:
        opened = self._view().open_epoch
        return opened is not None and (opened.epoch, opened.attempt) == (epoch, attempt)

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        """Run blocking work; a cancelled caller stops the work and waits for it, since a thread cannot be cancelled."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self.stop()
            await asyncio.wait([future])
            if not future.cancelled():
                future.exception()  # nobody else will look at it, and asyncio would complain about that
            raise


def _closed_epoch(record: EpochRecord | None) -> int:
    return record.epoch if record is not None else 0


def _counts(candidate: _Candidate, record: EpochRecord, node_id: NodeId) -> bool:
    """Whether the closed epoch is the one in which this node made its candidate."""
    return (candidate.epoch, candidate.attempt) == (record.epoch, record.attempt) and node_id in record.contributors
