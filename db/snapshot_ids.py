"""The packed form of a snapshot's vote ids: sorted UUIDs, 16 bytes each, compressed."""

from __future__ import annotations

import hashlib
import json
import uuid
import zlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def pack_ids(vote_ids: Iterable[str]) -> bytes:
    return zlib.compress(b"".join(uuid.UUID(each).bytes for each in sorted(vote_ids)))


def unpack_ids(packed: bytes) -> frozenset[str]:
    plain = zlib.decompress(packed)
    return frozenset(
        str(uuid.UUID(bytes=plain[start : start + 16])) for start in range(0, len(plain), 16)
    )


def sorted_ids(packed: bytes) -> np.ndarray:
    """The packed ids as a sorted S16 array: a million of them without a million objects."""
    import numpy as np

    return np.frombuffer(zlib.decompress(packed), dtype="S16")


def holds(packed: bytes, ids: np.ndarray) -> np.ndarray:
    """For each of `ids` (S16) whether it is among the packed ones, bool [N]."""
    import numpy as np

    known = sorted_ids(packed)
    if not len(known):
        return np.zeros(len(ids), dtype=bool)
    at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    return known[at] == ids


def digest_of(packed: bytes, rule_version: int, aggregation: Mapping[str, Any]) -> str:
    """sha256 over the rules' version, the project's choice among them, and the sorted ids."""
    rules = json.dumps(aggregation, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    digest = hashlib.sha256(f"rules {rule_version}\n{rules}\n".encode())
    digest.update(zlib.decompress(packed))
    return digest.hexdigest()
