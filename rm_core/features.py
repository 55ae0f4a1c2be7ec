"""The feature store: an answer's hidden states, encoded once, ever.

Content-addressed per answer: a record's key is a hash of everything that decides its numbers
(backbone revision, dtype, tokenizer, scoring template, prompt and response), so a new vote needs
no encoding and a new pair at most two answers. The key is taken over the texts, not over the token
ids that follow from them: looking an answer up needs no tokenizer (docs/decisions/0002). Length
limits are part of the key only where they changed the answer: its lengths, kept from its first
encoding, say whether they do, so that runs and evaluations of other limits share what they can.

One SQLite file (write-ahead log), shared by processes. Two kinds of record for an answer and layer:

- `summary`, kept for good: mean over the response's T tokens and the end token's state, 2 x H
  float32;
- `tokens`, evictable: all T states, T x H float32.

Each has a CRC-32; a damaged record is dropped, counted, and encoded again.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from rm_core.backbone import BackboneInfo
from rm_core.conversation import Answer, Limits
from rm_core.errors import FeatureStoreError

if TYPE_CHECKING:
    import numpy as np

Kind = Literal["summary", "tokens"]

_LENGTHS_SCHEMA = """
CREATE TABLE IF NOT EXISTS lengths (
    key TEXT PRIMARY KEY, prompt_tokens INTEGER NOT NULL, response_tokens INTEGER NOT NULL
) WITHOUT ROWID;
"""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS feature (
    key TEXT NOT NULL, layer INTEGER NOT NULL, kind TEXT NOT NULL,
    num_tokens INTEGER NOT NULL, data BLOB NOT NULL, crc INTEGER NOT NULL, used_at REAL NOT NULL,
    UNIQUE (key, layer, kind)
);
"""
_CHUNK = 500  # keys a query; SQLite allows far more, this keeps statements short


@dataclass(frozen=True)
class Record:
    """One answer's states at one layer, ready to be written.

    Attributes:
        key: content address.
        layer: which layer's states.
        num_tokens: T, the end tokens counted.
        summary: float32 [2, H]: mean over the response's tokens, end token.
        tokens: float32 [T, H], or None where whole states are not wanted.
    """

    key: str
    layer: int
    num_tokens: int
    summary: np.ndarray
    tokens: np.ndarray | None = None


@dataclass(frozen=True)
class Summaries:
    """Summaries of many answers at one layer, in the order asked for.

    Attributes:
        mean: float32 [B, H].
        end: float32 [B, H].
        num_tokens: int64 [B].
        damaged: how many records failed their checksum and were dropped (rows of zeros).
    """

    mean: np.ndarray
    end: np.ndarray
    num_tokens: np.ndarray
    damaged: list[int]


@dataclass(frozen=True)
class StoreReport:
    """What `FeatureStore.check` found."""

    num_summaries: int
    num_token_records: int
    num_bytes: int
    num_damaged: int


class Lengths(NamedTuple):
    """An answer's tokens before any limit: of the prompt, of the response with its end."""

    prompt: int
    response: int

    def fit(self, limits: Limits, max_context: int) -> bool:
        """Whether the limits leave the answer as it is."""
        prompt_limit = min(limits.max_prompt_tokens, max_context)
        return self.prompt <= prompt_limit and self.response <= limits.max_response_tokens


def limited_key(key: str, limits: Limits) -> str:
    """The address of what the limits leave of an answer that does not fit them."""
    bounds = [limits.max_prompt_tokens, limits.max_response_tokens, limits.over_long]
    return hashlib.sha256(json.dumps([key, *bounds]).encode()).hexdigest()


class _Addresser:
    """Hashes the constant part and each prompt once."""

    def __init__(self, info: BackboneInfo, dtype: str) -> None:
        self._constant = hashlib.sha256(info.fingerprint(dtype).encode())
        self._last_prompt: tuple[object, hashlib._Hash] | None = None

    def key(self, answer: Answer) -> str:
        if self._last_prompt is None or self._last_prompt[0] is not answer.prompt:
            state = self._constant.copy()
            turns = [[m["role"], m["content"]] for m in answer.prompt]
            state.update(json.dumps(turns).encode())
            self._last_prompt = (answer.prompt, state)
        state = self._last_prompt[1].copy()
        state.update(b"\0" + answer.response.encode())
        return state.hexdigest()


class FeatureStore:
    """Reads and writes records; safe to open in several processes at once.

    Raises:
        FeatureStoreError: the file cannot be opened or is not a feature store.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                path, timeout=60, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            # A lost record is encoded again: no need to wait for the disk at each commit.
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(_SCHEMA)
            self._db.execute(_LENGTHS_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise FeatureStoreError(
                f"The feature store {path} cannot be opened: {error}; check the folder's "
                "permissions, or move the file away (it is rebuilt by encoding again)."
            ) from error

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def keys_for(
        self, info: BackboneInfo, dtype: str, limits: Limits, answers: Iterable[Answer]
    ) -> list[str]:
        """Where each answer's records are under these limits; fast where equal prompts adjoin.

        Ask after encoding: of an answer that was never encoded nobody knows if it fits.
        """
        return self.limited(self.addresses(info, dtype, answers), limits, info.max_context)

    def addresses(self, info: BackboneInfo, dtype: str, answers: Iterable[Answer]) -> list[str]:
        """Content addresses of whole answers."""
        addresser = _Addresser(info, dtype)
        return [addresser.key(answer) for answer in answers]

    def limited(self, addresses: Sequence[str], limits: Limits, max_context: int) -> list[str]:
        """The keys of these answers under the limits, as far as their lengths are known."""
        cut = set()
        for part in _chunks(list(dict.fromkeys(addresses))):
            query = f"SELECT * FROM lengths WHERE key IN ({','.join('?' * len(part))})"
            for key, prompt, response in self._db.execute(query, part):
                if not Lengths(prompt, response).fit(limits, max_context):
                    cut.add(key)
        return [limited_key(key, limits) if key in cut else key for key in addresses]

    def missing(
        self, keys: Sequence[str], layers: Sequence[int], tokens: bool = False
    ) -> list[int]:
        """Positions in `keys` that lack a record at any of `layers`."""
        kind: Kind = "tokens" if tokens else "summary"
        have: dict[str, int] = {}
        marks = ",".join("?" * len(layers))
        for part in _chunks(list(dict.fromkeys(keys))):
            query = (
                f"SELECT key, count(*) FROM feature WHERE key IN ({','.join('?' * len(part))}) "
                f"AND layer IN ({marks}) AND kind = ? GROUP BY key"
            )
            have.update(self._db.execute(query, [*part, *layers, kind]))
        wanted = len(set(layers))
        return [i for i, key in enumerate(keys) if have.get(key, 0) < wanted]

    def put(self, records: Iterable[Record], lengths: Mapping[str, Lengths] | None = None) -> None:
        """Write records, and the lengths of the answers at these addresses, in one transaction.

        What is there already stays as it is.
        """
        now = time.time()
        rows = []
        for record in records:
            parts: list[tuple[Kind, np.ndarray | None]] = [
                ("summary", record.summary),
                ("tokens", record.tokens),
            ]
            for kind, array in parts:
                if array is not None:
                    data = array.astype("<f4", copy=False).tobytes()
                    crc = zlib.crc32(data)
                    rows.append((record.key, record.layer, kind, record.num_tokens, data, crc, now))
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany("INSERT OR IGNORE INTO feature VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        self._db.executemany(
            "INSERT OR IGNORE INTO lengths VALUES (?, ?, ?)",
            [(key, *each) for key, each in (lengths or {}).items()],
        )
        self._db.execute("COMMIT")

    def summaries(self, keys: Sequence[str], layer: int) -> Summaries:
        """Mean and end vectors of answers in the order of `keys` (which may repeat).

        Raises:
            FeatureStoreError: an answer was never encoded; encode first.
        """
        import numpy as np

        found: dict[str, tuple[int, np.ndarray]] = {}
        damaged: set[str] = set()
        for key, num_tokens, array in self._read(keys, layer, "summary", damaged):
            found[key] = (num_tokens, array.reshape(2, -1))
        absent = [key for key in keys if key not in found and key not in damaged]
        if absent:
            raise FeatureStoreError(
                f"{len(absent)} of {len(keys)} answers are not encoded at layer {layer}; run the "
                "encoding first."
            )
        if not found:
            empty = np.zeros((len(keys), 0), dtype=np.float32)
            lengths = np.zeros(len(keys), dtype=np.int64)
            return Summaries(empty, empty, lengths, list(range(len(keys))))
        hidden = next(iter(found.values()))[1].shape[1]
        nothing = (1, np.zeros((2, hidden), dtype=np.float32))
        picked = [found.get(key, nothing) for key in keys]
        stacked = np.stack([array for _, array in picked])
        return Summaries(
            mean=stacked[:, 0],
            end=stacked[:, 1],
            num_tokens=np.array([count for count, _ in picked], dtype=np.int64),
            damaged=[i for i, key in enumerate(keys) if key in damaged],
        )

    def token_states(self, keys: Sequence[str], layer: int) -> Iterator[tuple[str, np.ndarray]]:
        """Yield (key, float32 [T, H]) for every key that has whole token states at `layer`."""
        for key, num_tokens, array in self._read(keys, layer, "tokens", set()):
            yield key, array.reshape(num_tokens, -1)

    def _read(
        self, keys: Sequence[str], layer: int, kind: Kind, damaged: set[str]
    ) -> Iterator[tuple[str, int, np.ndarray]]:
        """Checked records; damaged ones are deleted and their keys added to `damaged`."""
        import numpy as np

        for part in _chunks(list(dict.fromkeys(keys))):
            query = (
                "SELECT key, num_tokens, data, crc FROM feature WHERE layer = ? AND kind = ? "
                f"AND key IN ({','.join('?' * len(part))})"
            )
            for key, num_tokens, data, crc in self._db.execute(query, [layer, kind, *part]):
                if zlib.crc32(data) != crc:
                    damaged.add(key)
                else:
                    yield key, num_tokens, np.frombuffer(data, dtype="<f4")
        for key in damaged:
            self._db.execute(
                "DELETE FROM feature WHERE key = ? AND layer = ? AND kind = ?", (key, layer, kind)
            )

    def evict_tokens(self, max_bytes: int) -> int:
        """Drop the oldest whole-token records until they take at most `max_bytes`; how many."""
        query = (
            "SELECT rowid, length(data) FROM feature WHERE kind = 'tokens' ORDER BY used_at DESC"
        )
        total, victims = 0, []
        for rowid, size in self._db.execute(query):
            total += size
            if total > max_bytes:
                victims.append((rowid,))
        self._db.executemany("DELETE FROM feature WHERE rowid = ?", victims)
        return len(victims)

    def check(self, repair: bool = False) -> StoreReport:
        """Verify every checksum; with `repair`, drop what is damaged (it is encoded again)."""
        counts = {"summary": 0, "tokens": 0}
        num_bytes, damaged = 0, []
        for rowid, kind, data, crc in self._db.execute(
            "SELECT rowid, kind, data, crc FROM feature"
        ):
            counts[kind] += 1
            num_bytes += len(data)
            if zlib.crc32(data) != crc:
                damaged.append((rowid,))
        if repair:
            self._db.executemany("DELETE FROM feature WHERE rowid = ?", damaged)
        return StoreReport(counts["summary"], counts["tokens"], num_bytes, len(damaged))


def _chunks(keys: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(keys), _CHUNK):
        yield keys[start : start + _CHUNK]
