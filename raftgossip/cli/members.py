"""`raftgossip members`: who belongs to the cluster; and the commands below it, which change that."""

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
from raftgossip.ids import Address, parse_node_id

members = typer.Typer(name="members")

NodeIdArgument = Annotated[int, typer.Argument(metavar="NODE_ID", help="The node's id.", show_default=False)]
AddressArgument = Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where it will be.", show_default=False)]


@members.callback(invoke_without_command=True)
def show(
    context: typer.Context,
    node: OptionalNodeOption = None,
    keys: KeysOption = None,
    insecure: InsecureOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show who belongs to the cluster, who leads, and who answers (as the leader sees it), or change who belongs to it.

    \b
    Example:
      raftgossip members --node 10.0.0.7:7001
      raftgossip members --node 10.0.0.7:7001 --json
      raftgossip members add 4 10.0.0.9:7001 --node 10.0.0.7:7001
      raftgossip members remove 4 --node 10.0.0.7:7001
    """
    if context.invoked_subcommand is not None:
        remember(context, Question(node, keys, insecure, as_json))
        return
    from raftgossip.cli.dialling import own_credentials
    from raftgossip.cli.operator import ask_roster
    from raftgossip.cli.output import make_console, print_json
    from raftgossip.cli.tables import members_view

    document = ask_roster(required(node), own_credentials(keys, insecure))
    if as_json:
        print_json(document)
    else:
        make_console().print(members_view(document))


@members.command()
def add(
    context: typer.Context,
    node_id: NodeIdArgument,
    address: AddressArgument,
    node: OptionalNodeOption = None,
    keys: KeysOption = None,
    insecure: InsecureOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let a node in before it comes: its id is kept for whoever first joins with it.

    Nodes that are simply started join by themselves; this is for those that must be known before.

    Repeated with another address, it moves a node that has not come yet.

    \b
    Example:
      raftgossip members add 4 10.0.0.9:7001 --node 10.0.0.7:7001
    """
    from raftgossip.cli.dialling import own_credentials
    from raftgossip.cli.leader_hint import at_leader
    from raftgossip.cli.output import print_sentence

    text, asked = recall(context, Question(node, keys, insecure, as_json))
    credentials = own_credentials(asked.keys, asked.insecure)
    newcomer, place = parse_node_id(node_id), Address.parse(address)
    message = at_leader(text, credentials, lambda client: client.add_member(newcomer, place))
    print_sentence(message, asked.as_json, node_id=newcomer)


@members.command()
def remove(
    context: typer.Context,
    node_id: NodeIdArgument,
    node: OptionalNodeOption = None,
    keys: KeysOption = None,
    insecure: InsecureOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take a node out of the cluster, also one that is dead; a running one ends.

    Started again with its state directory, it joins again: to keep it away, do not start it.

    Its id stays bound to that directory: another machine needs another id.

    \b
    Example:
      raftgossip members remove 4 --node 10.0.0.7:7001
    """
    from raftgossip.cli.dialling import own_credentials
    from raftgossip.cli.leader_hint import at_some_leader
    from raftgossip.cli.output import print_sentence

    text, asked = recall(context, Question(node, keys, insecure, as_json))
    credentials = own_credentials(asked.keys, asked.insecure)
    leaver = parse_node_id(node_id)
    message = at_some_leader(text, credentials, lambda client: client.remove_member(leaver))
    print_sentence(message, asked.as_json, node_id=leaver)


@members.command()
def promote(
    context: typer.Context,
    node_id: NodeIdArgument,
    node: OptionalNodeOption = None,
    keys: KeysOption = None,
    insecure: InsecureOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let a node vote that has only received the log so far; it must have caught up.

    This goes beyond max_voters, too. An even number of voters tolerates no more losses than one less.

    \b
    Example:
      raftgossip members promote 4 --node 10.0.0.7:7001
    """
    from raftgossip.cli.dialling import own_credentials
    from raftgossip.cli.leader_hint import at_leader
    from raftgossip.cli.output import print_sentence

    text, asked = recall(context, Question(node, keys, insecure, as_json))
    credentials = own_credentials(asked.keys, asked.insecure)
    learner = parse_node_id(node_id)
    message = at_leader(text, credentials, lambda client: client.promote_member(learner))
    print_sentence(message, asked.as_json, node_id=learner)
