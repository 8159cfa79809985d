"""`raftgossip leader`: who leads the cluster; and the command below it, which changes that."""

from __future__ import annotations

from typing import Annotated

import typer

from raftgossip.cli.options import (
    InsecureOption,
    JsonOption,
    KeysOption,
    OptionalNodeOption,
    Question,
    recall,
    remember,
    required,
)

leader = typer.Typer(name="leader")

ToOption = Annotated[
    int | None,
    typer.Option("--to", metavar="NODE_ID", help="Who should lead; default: the voter whose log reaches farthest."),
]


@leader.callback(invoke_without_command=True)
def show(
    context: typer.Context,
    node: OptionalNodeOption = None,
    keys: KeysOption = None,
    insecure: InsecureOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show who leads the cluster, as its leader confirms; or let another node lead.

    \b
    Example:
      raftgossip leader --node 10.0.0.7:7001
      raftgossip leader transfer --node 10.0.0.7:7001
      raftgossip leader transfer --to 3 --node 10.0.0.7:7001
    """
    if context.invoked_subcommand is not None:
        remember(context, Question(node, keys, insecure, as_json))
        return
    from raftgossip.cli.dialling import own_credentials
    from raftgossip.cli.leader_hint import at_some_leader, leading_status
    from raftgossip.cli.output import make_console, print_json
    from raftgossip.observe.escape import printable

    status = at_some_leader(required(node), own_credentials(keys, insecure), leading_status)
    address = next((peer["address"] for peer in status["peers"] if peer["node_id"] == status["node_id"]), None)
    if as_json:
        print_json({"leader": status["node_id"], "address": address, "term": status["term"]})
    else:
        place = f" at {address}" if address is not None else ""
        sentence = f"node {status['node_id']}{place} leads in term {status['term']}"
        make_console().print(printable(sentence), markup=False)


@leader.command()
def transfer(
    context: typer.Context,
    to: ToOption = None,
    node: OptionalNodeOption = None,
    keys: KeysOption = None,
    insecure: InsecureOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let another node lead, without an election timeout in between.

    \b
    Example:
      raftgossip leader transfer --node 10.0.0.7:7001
      raftgossip leader transfer --to 3 --node 10.0.0.7:7001
    """
    from raftgossip.cli.dialling import own_credentials
    from raftgossip.cli.leader_hint import at_leader, at_some_leader
    from raftgossip.cli.output import make_console, print_json
    from raftgossip.ids import parse_node_id

    text, asked = recall(context, Question(node, keys, insecure, as_json))
    credentials = own_credentials(asked.keys, asked.insecure)
    target = parse_node_id(to) if to is not None else None
    ask = at_leader if target is None else at_some_leader  # to whom it is given, it may be given twice
    answer = ask(text, credentials, lambda client: client.transfer_leadership(target))
    if asked.as_json:
        print_json({"leader": answer.leader, "term": answer.term})
    else:
        make_console().print(f"node {answer.leader} leads in term {answer.term}", markup=False)
