"""One run of the demo from beginning to end: start, watch, compare, write down, judge."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from raftgossip._version import __version__
from raftgossip.cli.demo_baselines import Baselines, Contestants
from raftgossip.cli.demo_plan import Plan
from raftgossip.cli.demo_processes import Cast
from raftgossip.cli.demo_story import Story
from raftgossip.cli.demo_summary import Outcome, document, position, problems
from raftgossip.cli.demo_tls import make_keys
from raftgossip.cli.demo_view import View, event_text, result_tables, view_of
from raftgossip.cli.output import make_console, print_json
from raftgossip.errors import ConfigError, RaftGossipError
from raftgossip.observe.plots import Mark, RunPicture, draw_run, extremes
from raftgossip.observe.run_files import save_json
from raftgossip.runtime.clock import SystemClock
from raftgossip.runtime.model_store import ModelStore
from raftgossip.update import FloatVector

LOOK_EVERY_S = 0.1
GATEWAY_START_S = 30.0


class BaselineWork:
    """Trains the comparison in a thread while the cluster trains; `result` waits for it."""

    def __init__(self, plan: Plan) -> None:
        """Loads the data at once, so that what is wrong with it is said at once."""
        self.contestants = Contestants(plan)
        self._stopped = False
        self._baselines: Baselines | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="baselines")
        self._thread.start()

    def result(self) -> Baselines:
        """The curves.

        Raises:
            RaftGossipError: the training failed.
        """
        self._thread.join()
        if self._baselines is None:
            raise self._error or RaftGossipError("the comparison was stopped")
        return self._baselines

    def stop(self) -> None:
        """Give up soon, and wait for that."""
        self._stopped = True
        self._thread.join()

    def _work(self) -> None:
        try:
            self._baselines = self.contestants.train(lambda: self._stopped)
        except RaftGossipError as error:
            self._error = error


def run_demo(plan: Plan, files: tuple[Path, Path], environment: Mapping[str, str], quiet: bool) -> bool:
    """Run it; writes the picture and the document; returns whether all was as promised. No process is left behind.

    Raises:
        RaftGossipError: it could not be run to its end; says why, and where the logs are.
    """
    for file in files:
        _check_writable(file)
    clock = SystemClock()
    started_ms = clock.now_ms()
    folder = Path(tempfile.mkdtemp(prefix="raftgossip-demo-"))
    try:
        with _sigterm_as_interrupt(), ExitStack() as stack:
            cast = Cast(folder, environment, make_keys(folder / "keys", plan.num_peers) if plan.tls else None)
            stack.callback(cast.close)
            view = stack.enter_context(view_of(plan, quiet))
            _start(plan, cast, view)
            baselines = BaselineWork(plan)
            stack.callback(baselines.stop)
            story = Story(plan, cast, clock)
            while not story.is_over:
                story.step()
                view.show(story)
                time.sleep(LOOK_EVERY_S)
            outcome = _outcome(plan, story, cast, baselines)
            curves = baselines.result()
    except RaftGossipError as error:
        raise type(error)(f"{error}; the logs are in {folder}") from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    found = problems(outcome)
    more = {"seconds": round((clock.now_ms() - started_ms) / 1000, 1), "seed": plan.seed, "version": __version__}
    written = document(outcome, more)
    save_json(files[1], written)
    drawn = _draw(plan, outcome, written, curves, files[0])
    _tell(outcome, written, files if drawn else files[1:], quiet)
    if not found:
        shutil.rmtree(folder, ignore_errors=True)
    for each in found:
        sys.stderr.write(f"raftgossip: {each}; the logs are in {folder}\n")
    return not found


def _start(plan: Plan, cast: Cast, view: View) -> None:
    if plan.tls:
        view.say(
            f"made keys: a federation of {plan.num_peers} organisations with their own authorities and a peer each; "
            "from here on all is encrypted, and both ends show certificates"
        )
    view.say("starting a gateway, then the peers")
    cast.gateway.start()
    deadline = GATEWAY_START_S
    while (address := cast.gateway.address()) is None:
        cast.gateway.check()
        if deadline <= 0:
            raise RaftGossipError(f"the gateway did not start within {GATEWAY_START_S:.0f} s")
        time.sleep(LOOK_EVERY_S)
        deadline -= LOOK_EVERY_S
    for node_id in range(1, plan.num_peers + 1):
        cast.add_peer(node_id, plan.peer_settings(node_id, str(address)))


def _outcome(plan: Plan, story: Story, cast: Cast, baselines: BaselineWork) -> Outcome:
    """Ask everybody for what he has, while all still run."""
    judge = baselines.contestants.judge
    models: dict[int, FloatVector] = {}
    for node, status in story.statuses.items():
        if status["model_digest"]:
            folder = ModelStore(cast.peers[node].data_dir / "models")
            models[node] = folder.load(bytes.fromhex(status["model_digest"]), judge.schema)
    ledgers = story.ledgers()
    curves = baselines.result()
    shared = [judge.evaluate(model)["accuracy"] for model in models.values()]
    return Outcome(
        num_epochs=plan.num_epochs,
        target=plan.task.target,
        epochs=tuple(story.epochs),
        events=tuple(story.events),
        ledgers=ledgers,
        models=models,
        num_peers=plan.num_peers,
        accuracy_shared=min(shared, default=0.0),
        accuracy_alone={node: curve[-1] for node, curve in curves.alone.items()},
        accuracy_pooled=curves.pooled[-1],
        tls=plan.tls,
        witnessed=story.witnessed,
    )


def _draw(plan: Plan, outcome: Outcome, written: Mapping[str, object], curves: Baselines, path: Path) -> bool:
    found = problems(outcome)
    since = "since the leader died" if plan.kills else "between two epochs"
    pause = f"longest pause {since} {written['stall_s']} s"
    marks = [
        Mark(position(outcome.epochs, event.at_s), event_text(event).partition("  ")[2], event.kind)
        for event in outcome.events
    ]
    picture = RunPicture(
        title=f"{plan.num_peers} peers train one model together: {plan.task.story}",
        subtitle=" · ".join(("no server", pause, found[0] if found else "all peers end with the same model")),
        accuracy=[each.accuracy for each in outcome.epochs],
        loss=[each.loss for each in outcome.epochs],
        alone=curves.alone_mean(),
        alone_range=extremes(curves.alone),
        pooled=curves.pooled,
        target=outcome.target,
        participants=[each.participants for each in outcome.epochs],
        leaders=[each.leader for each in outcome.epochs],
        nodes=tuple(range(1, plan.num_peers + 1)),
        marks=marks,
    )
    try:
        draw_run(path, picture)
    except ConfigError as error:
        sys.stderr.write(f"raftgossip: {error}\n")
        return False
    return True


def _tell(outcome: Outcome, written: dict[str, object], files: tuple[Path, ...], quiet: bool) -> None:
    if quiet:
        print_json(written)
        return
    console = make_console()
    difference, stall_s = written["models_max_rel_diff"], written["stall_s"]
    assert isinstance(stall_s, float) and (difference is None or isinstance(difference, float))
    console.print()
    console.print(result_tables(outcome, stall_s, difference))
    console.print()
    verdict = "all as promised" if written["good"] else "not as promised"
    console.print(f"{verdict}, in {written['seconds']} s; see {' and '.join(map(str, files))}", soft_wrap=True)


def _check_writable(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write to {file.parent}: {error.strerror}; give another --out") from None
    if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise ConfigError(f"cannot write {file}: give another --out")


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """A terminated demo ends its processes as one that was interrupted with Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
