"""Tells damage in SQLite's write-ahead log from a torn end.

SQLite reads a WAL up to the first frame that is not whole and forgets the rest: right after a crash, when only the last
transaction may be torn, since each was synced before the next was begun. But a bit that flips further ahead would cost
all that was saved behind it, without a word. Format: "WAL-mode File Format" in SQLite's documentation, section 2.
"""

from __future__ import annotations

import struct

_HEADER = struct.Struct(">8I")
"""Magic number, format, page size, checkpoint number, two salts, two checksums."""
_FRAME = struct.Struct(">6I")
"""Page number, pages in the file (0 but for the last frame of a transaction), two salts, two checksums."""
_MAGIC = 0x377F0682
"""The lowest bit is set if the checksums read their words with the highest byte first."""


def find_wal_damage(wal: bytes) -> str | None:
    """Where saved data is damaged, as a text; None: nowhere, or only where a crash may have torn it.

    `wal`: the whole file. It holds the frames of one run of the program, as `SqliteStore` empties it at each start, and
    behind them older ones with other salts, which were folded into the database before they were written over.
    """
    if len(wal) <= _HEADER.size:
        return None
    magic, _, page_bytes, _, *salts, first, second = _HEADER.unpack_from(wal)
    order = ">" if magic & 1 else "<"
    if magic | 1 != _MAGIC | 1 or _sum(wal[: _HEADER.size - 8], order, (0, 0)) != (first, second):
        return "its header"  # synced before the first frame was written
    sums = (first, second)
    starts = range(_HEADER.size, len(wal) - page_bytes - _FRAME.size + 1, page_bytes + _FRAME.size)
    for num_frame, start in enumerate(starts, start=1):
        _, _, *frame_salts, first, second = _FRAME.unpack_from(wal, start)
        end = start + _FRAME.size + page_bytes
        sums = _sum(wal[start + _FRAME.size : end], order, _sum(wal[start : start + 8], order, sums))
        if frame_salts != salts or sums != (first, second):
            return f"frame {num_frame}" if _is_saved_behind(wal, start, page_bytes, salts) else None
    return None


def _is_saved_behind(wal: bytes, start: int, page_bytes: int, salts: list[int]) -> bool:
    """Whether a transaction ended in the frame at `start` or behind it and another one was begun after it.

    One right salt is enough to count a frame: the other may be what is damaged.
    """
    has_ended = False
    for frame_start in range(start, len(wal) - _FRAME.size + 1, page_bytes + _FRAME.size):
        _, num_pages, first_salt, second_salt, _, _ = _FRAME.unpack_from(wal, frame_start)
        if first_salt != salts[0] and second_salt != salts[1]:
            return False
        if has_ended:
            return True
        has_ended = num_pages != 0
    return False


def _sum(data: bytes, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    """SQLite's checksum over a multiple of eight bytes, going on from `sums`."""
    first, second = sums
    for even, odd in struct.iter_unpack(f"{order}II", data):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
