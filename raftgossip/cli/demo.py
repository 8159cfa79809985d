"""`raftgossip demo`: a gateway and a few peers as real processes that train together while processes are killed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raftgossip.cli.environment import environment_for_children

DEFAULT_NAME = "raftgossip-demo"

PeersOption = Annotated[int, typer.Option("--peers", help="How many peers train.")]
EpochsOption = Annotated[int | None, typer.Option("--epochs", help="How many epochs; default: what the task needs.")]
TaskOption = Annotated[str, typer.Option("--task", help="digits or hospitals.")]
OutOption = Annotated[
    str | None, typer.Option("--out", metavar="PATH", help="Folder, or beginning of the names, of the two results.")
]
NoKillOption = Annotated[bool, typer.Option("--no-kill", help="Kill nothing: training only.")]
TlsOption = Annotated[
    bool,
    typer.Option("--tls", help="Make keys for everybody first: all is encrypted, and both ends show who they are."),
]
SeedOption = Annotated[int, typer.Option("--seed", help="Of the data's division and the training.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document, and nothing else.")]


def demo(
    peers: PeersOption = 4,
    epochs: EpochsOption = None,
    task: TaskOption = "digits",
    out: OutOption = None,
    no_kill: NoKillOption = False,
    tls: TlsOption = False,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Show it: a gateway and four peers train together, the leader and the gateway are killed, and training goes on.

    Writes raftgossip-demo.png and raftgossip-demo.json; ends with 0 only if all that is promised was seen.

    \b
    Example:
      raftgossip demo --peers 4 --out results/
      raftgossip demo --tls
    """
    from raftgossip.cli.demo_plan import make_plan
    from raftgossip.cli.demo_run import run_demo

    plan = make_plan(task, peers, epochs, seed, kills=not no_kill, tls=tls)
    good = run_demo(plan, result_files(out), environment_for_children(), quiet=as_json)
    raise typer.Exit(0 if good else 1)


def result_files(out: str | None) -> tuple[Path, Path]:
    """Where the picture and the document go."""
    path = Path(out) if out is not None else Path(DEFAULT_NAME)
    if out is not None and (out.endswith("/") or path.is_dir()):
        path = path / DEFAULT_NAME
    if path.suffix in (".png", ".json"):
        path = path.with_suffix("")
    return path.with_name(path.name + ".png"), path.with_name(path.name + ".json")
