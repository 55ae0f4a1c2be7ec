"""The packed form of a snapshot's vote ids: sorted UUIDs, 16 bytes each, compressed."""

from __future__ import annotations

import hashlib
import uuid
import zlib
from collections.abc import Iterable


def pack_ids(vote_ids: Iterable[str]) -> bytes:
    return zlib.compress(b"".join(uuid.UUID(each).bytes for each in sorted(vote_ids)))


def unpack_ids(packed: bytes) -> frozenset[str]:
    plain = zlib.decompress(packed)
    return frozenset(
        str(uuid.UUID(bytes=plain[start : start + 16])) for start in range(0, len(plain), 16)
    )


def ids_digest(vote_ids: Iterable[str], rule_version: int) -> str:
    """sha256 over the sorted ids and the version of the rules that merge them."""
    listed = "\n".join([f"rules {rule_version}", *sorted(vote_ids)])
    return hashlib.sha256(listed.encode()).hexdigest()
