"""`raftgossip node`: run one peer until it is stopped."""

from __future__ import annotations

from typing import Annotated

import typer

from raftgossip.cli.environment import read_environment

RUN = "The run (the founder's values count)"
DATA = "This node's data"
TRUST = "Identity and TLS"

Text = str | None
Number = int | None
Texts = list[str] | None
Switch = bool | None

TaskOption = Annotated[
    Text, typer.Option("--task", metavar="TASK", help="digits, hospitals, or your own: my_task.py:MyTask.")
]
NodeIdOption = Annotated[
    Number, typer.Option("--node-id", help="From 1 on, unique; default: what --data-dir remembers.")
]
GatewayOption = Annotated[Texts, typer.Option("--gateway", metavar="HOST:PORT", help="Gateways; several: with commas.")]
PeerOption = Annotated[Texts, typer.Option("--peer", metavar="HOST:PORT", help="Peers to ask instead of a gateway.")]
DataDirOption = Annotated[Text, typer.Option("--data-dir", metavar="DIR", help="State that outlives a restart.")]
ListenOption = Annotated[Text, typer.Option("--listen", metavar="HOST:PORT", help="Default: 127.0.0.1, any free port.")]
AdvertiseOption = Annotated[Text, typer.Option("--advertise", metavar="HOST:PORT", help="What other nodes dial.")]
DiscoverOption = Annotated[
    Texts, typer.Option("--discover", metavar="SOURCE", help="More peers: dns:, srv:, k8s: or file: (see the guide).")
]
KeysOption = Annotated[
    Text, typer.Option("--keys", metavar="DIR", help="Default: ./raftgossip-keys, if it exists.", rich_help_panel=TRUST)
]
InsecureOption = Annotated[
    Switch, typer.Option("--insecure/--secure", help="No TLS, even where there are keys.", rich_help_panel=TRUST)
]
TokenOption = Annotated[
    Text, typer.Option("--token", help="Join token; better in RAFTGOSSIP_JOIN_TOKEN.", rich_help_panel=TRUST)
]
FoundOption = Annotated[
    Switch, typer.Option("--found/--no-found", help="Found a new cluster, asking nobody; one node only.")
]
ExpectOption = Annotated[Number, typer.Option("--expect", help="Found when so many nodes are there: all that start.")]
EpochsOption = Annotated[
    Number, typer.Option("--epochs", help="Finished after so many; 0: never.", rich_help_panel=RUN)
]
AlgorithmOption = Annotated[Text, typer.Option("--algorithm", help="fedavg or dpsgd.", rich_help_panel=RUN)]
TopologyOption = Annotated[
    Text, typer.Option("--topology", help="base, exponential, ring or full.", rich_help_panel=RUN)
]
MinParticipantsOption = Annotated[
    Number, typer.Option("--min-participants", help="Fewer: no epoch opens.", rich_help_panel=RUN)
]
SeedOption = Annotated[Number, typer.Option("--seed", help="Of the whole run.", rich_help_panel=RUN)]
LocalPassesOption = Annotated[
    Number, typer.Option("--local-passes", help="Over the local data, per epoch.", rich_help_panel=RUN)
]
TrainDeadlineOption = Annotated[
    Number, typer.Option("--train-deadline-ms", help="For local training.", rich_help_panel=RUN)
]
ExchangeDeadlineOption = Annotated[
    Number, typer.Option("--exchange-deadline-ms", help="For an exchange.", rich_help_panel=RUN)
]
MinEpochOption = Annotated[
    Number, typer.Option("--min-epoch-ms", help="Least time from epoch to epoch.", rich_help_panel=RUN)
]
RequireTokenOption = Annotated[
    Switch, typer.Option("--require-token/--no-token", help="Newcomers need a join token.", rich_help_panel=RUN)
]
MetadataOption = Annotated[Texts, typer.Option("--metadata", metavar="NAME=VALUE", help="Shown in `members`.")]
ShardOption = Annotated[
    Number, typer.Option("--shard", help="This node's part of the data, from 0 on.", rich_help_panel=DATA)
]
NumShardsOption = Annotated[
    Number, typer.Option("--num-shards", help="Parts that the data is divided into.", rich_help_panel=DATA)
]
PartitionOption = Annotated[
    Text, typer.Option("--partition", help="How: iid, dirichlet:0.5, natural.", rich_help_panel=DATA)
]
DataSeedOption = Annotated[
    Number, typer.Option("--data-seed", help="Of the division; equal on all nodes.", rich_help_panel=DATA)
]
ExitOption = Annotated[
    Switch, typer.Option("--exit-when-finished/--stay", help="End when the run is finished; default: stay.")
]
ConfigOption = Annotated[Text, typer.Option("--config", metavar="FILE", help="TOML file with any of the settings.")]
PrintOption = Annotated[bool, typer.Option("--print-config", help="Show all settings and their origins, then end.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Short for --log-format json.")]
LogFormatOption = Annotated[Text, typer.Option("--log-format", help="console or json.")]
LogLevelOption = Annotated[Text, typer.Option("--log-level", help="debug, info, warning or error.")]


def node(
    task: TaskOption = None,
    node_id: NodeIdOption = None,
    gateway: GatewayOption = None,
    peers: PeerOption = None,
    discover: DiscoverOption = None,
    keys: KeysOption = None,
    insecure: InsecureOption = None,
    join_token: TokenOption = None,
    data_dir: DataDirOption = None,
    listen: ListenOption = None,
    advertise: AdvertiseOption = None,
    found: FoundOption = None,
    expect: ExpectOption = None,
    num_epochs: EpochsOption = None,
    algorithm: AlgorithmOption = None,
    topology: TopologyOption = None,
    min_participants: MinParticipantsOption = None,
    seed: SeedOption = None,
    local_passes: LocalPassesOption = None,
    train_deadline_ms: TrainDeadlineOption = None,
    exchange_deadline_ms: ExchangeDeadlineOption = None,
    min_epoch_ms: MinEpochOption = None,
    require_token: RequireTokenOption = None,
    metadata: MetadataOption = None,
    shard: ShardOption = None,
    num_shards: NumShardsOption = None,
    partition: PartitionOption = None,
    data_seed: DataSeedOption = None,
    exit_when_finished: ExitOption = None,
    config: ConfigOption = None,
    print_config: PrintOption = False,
    as_json: JsonOption = False,
    log_format: LogFormatOption = None,
    log_level: LogLevelOption = None,
) -> None:
    """Run one peer: it joins (or founds) a cluster, and trains with the others until it is stopped.

    Settings may also stand in the environment (RAFTGOSSIP_NUM_EPOCHS=20) or in a
    TOML file (num_epochs = 20). Flags win over the environment, and it over the file.

    \b
    Example:
      raftgossip node --task digits --node-id 1 --gateway gw:8090 --data-dir s1
      raftgossip node --task my_task.py:MyTask --node-id 2 --peer pc1:7001
      raftgossip node --config node.toml --print-config
    """
    flags = {**locals(), "log_format": "json" if as_json else log_format}
    from raftgossip.cli.running import print_settings, run_node
    from raftgossip.cli.settings import gather

    settings = gather(flags, read_environment())
    if print_config:
        print_settings(settings)
    else:
        run_node(settings)
