"""Writes a run's curves as a TensorBoard event file: `tensorboard --logdir DATA_DIR/tensorboard`.

    with EventFile(settings.tensorboard_dir / "run-7") as events:
        events.scalars(step=3, values={"loss": 0.61})

The format is a sequence of records (length, its checksum, bytes, their checksum: TFRecord) of one
protocol buffer message, of which three fields are used. Writing these here takes a page; the
libraries that do it import torch or TensorFlow, seconds for a run that fits in one.
docs/decisions/0009-event-files.md has the measurement.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), reflected
_MASK_DELTA = 0xA282EAD8


def _table() -> tuple[int, ...]:
    entries = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        entries.append(value)
    return tuple(entries)


_TABLE = _table()


class EventFile:
    """One run's event file; made with the first value, so that a run without any leaves none."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add one step of the curves, on disk when this returns."""
        if self._file is None:
            self._file = self._open()
        summary = b"".join(
            _message(1, _message(1, tag.encode()) + b"\x15" + struct.pack("<f", value))
            for tag, value in values.items()
        )
        self._file.write(_record(_event(b"\x10" + _varint(step) + _message(5, summary))))

    def _open(self) -> IO[bytes]:
        self.directory.mkdir(parents=True, exist_ok=True)
        # TensorBoard knows event files by this part of their names, and orders them by the number.
        path = self.directory / f"events.out.tfevents.{int(time.time())}.reward-studio"
        file = path.open("ab", buffering=0)
        file.write(_record(_event(_message(3, b"brain.Event:2"))))
        return file


def _event(fields: bytes) -> bytes:
    """An Event message: its wall time (field 1, a double) and further fields."""
    return b"\x09" + struct.pack("<d", time.time()) + fields


def _message(number: int, content: bytes) -> bytes:
    """A field that holds bytes."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    parts = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        parts.append(low | (0x80 if value else 0))
        if not value:
            return bytes(parts)


def _record(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return length + _checksum(length) + content + _checksum(content)


def _checksum(content: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    masked = ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF
    return struct.pack("<I", masked)
