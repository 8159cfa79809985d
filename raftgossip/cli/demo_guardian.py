"""Ends the demo's processes if the demo itself is killed: a program of its own, run as a file.

It reads process groups from standard input, one a line: `17` has been started, `-17` has ended. The input ends when the
demo ends, whatever ended it; what has not ended by then is killed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable


def watch(lines: Iterable[str]) -> set[int]:
    """The groups that have been started and not ended when the lines end."""
    groups: set[int] = set()
    for line in lines:
        number = int(line)
        if number > 0:
            groups.add(number)
        else:
            groups.discard(-number)
    return groups


if __name__ == "__main__":
    for group in watch(sys.stdin):
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            pass
