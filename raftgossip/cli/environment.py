"""The only door to the environment of this program."""

from __future__ import annotations

from collections.abc import Mapping
from os import environ  # noqa: TID251 - the one door

PREFIX = "RAFTGOSSIP_"


def read_environment() -> Mapping[str, str]:
    """The variables that are meant for this program, without their prefix."""
    return {name.removeprefix(PREFIX): text for name, text in environ.items() if name.startswith(PREFIX)}


def environment_for_children() -> dict[str, str]:
    """Everything but those: the demo's peers must not take over the settings of yours."""
    return {name: text for name, text in environ.items() if not name.startswith(PREFIX)}


def silence_grpc() -> None:
    """Keep gRPC's own lines off standard error, where a person reads ours; before grpc is imported."""
    environ.setdefault("GRPC_VERBOSITY", "NONE")
