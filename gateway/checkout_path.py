"""Lets the files of this folder run without being installed.

`python gateway/grpc_gateway_server.py`, and `from grpc_gateway_client import …` inside this folder, put this folder on
`sys.path` and not its parent, so that `gateway` and `raftgossip` could not be found from a plain checkout. Importing
this module puts the parent in front, as `python -m` would. Only the two files that may be entered this way import it,
and only when they are not part of the package already.
"""

from __future__ import annotations

import sys
from pathlib import Path

REPOSITORY = str(Path(__file__).resolve().parent.parent)
"""The folder in which `gateway` and `raftgossip` lie."""

if REPOSITORY not in sys.path:
    sys.path.insert(0, REPOSITORY)
