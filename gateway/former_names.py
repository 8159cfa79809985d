"""What a name from the time of the HTTP gateway says to whoever still uses it."""

from __future__ import annotations

FORMER_PORT = 8080
"""Where HTTP gateways listened unless told otherwise."""


def renaming(former: str, name: str, port: int) -> str:
    """The warning's text; `port`: the one that was given with the former name."""
    text = f"{former} is now {name}, which speaks gRPC"
    if port == FORMER_PORT:
        text += f"; port {FORMER_PORT} was the HTTP gateway's, gRPC gateways listen at 8090 unless told otherwise"
    return text
