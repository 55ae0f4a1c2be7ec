"""The feature store: an answer's hidden states, encoded once, ever.

Content-addressed per answer: a record's key is a hash of everything that decides its numbers
(backbone revision, dtype, tokenizer, scoring template, prompt and response), so a new vote needs
no encoding and a new pair at most two answers. The key is taken over the texts, not over the token
ids that follow from them: looking an answer up needs no tokenizer (docs/decisions/0002). Length
limits are part of the key only where they changed the answer: its lengths, kept from its first
encoding, say whether they do, so that runs and evaluations of other limits share what they can.

One SQLite file (rm_core.feature_file), shared by processes. Of an answer and layer it holds:

- `summary`, kept for good: mean over the response's T tokens and the end token's state, 2 x H
  float32;
- `tokens`, evictable: the T token ids, int32, and all T states, T x H float32.

Each has a CRC-32 over its data, key, layer and length; a damaged record is dropped, counted, and
encoded again. An answer that cannot be encoded under some limits leaves its refusal, so that it is
refused again without a tokenizer.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rm_core.backbone import BackboneInfo
from rm_core.conversation import Answer, Limits
from rm_core.errors import FeatureStoreError
from rm_core.feature_file import FeatureFile, checksum

if TYPE_CHECKING:
    import numpy as np

Kind = Literal["summary", "tokens"]

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
        ids: int32 [T], the response's token ids, kept with `tokens`; None: not known (-1).
    """

    key: str
    layer: int
    num_tokens: int
    summary: np.ndarray
    tokens: np.ndarray | None = None
    ids: np.ndarray | None = None

    def rows(self) -> Iterator[tuple[Kind, bytes]]:
        """What is written of it."""
        import numpy as np

        yield "summary", self.summary.astype("<f4", copy=False).tobytes()
        if self.tokens is not None:
            ids = np.full(self.num_tokens, -1) if self.ids is None else self.ids
            states = self.tokens.astype("<f4", copy=False).tobytes()
            yield "tokens", ids.astype("<i4", copy=False).tobytes() + states


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
    """What `FeatureStore.check` found; `is_sound` is False where the file itself is damaged."""

    num_summaries: int
    num_token_records: int
    num_bytes: int
    num_damaged: int
    num_refusals: int = 0
    is_sound: bool = True


@dataclass(frozen=True)
class Eviction:
    """What `FeatureStore.evict` did.

    Attributes:
        num_evicted: whole-token records that were dropped.
        num_bytes: what the file's records take now.
        num_kept: summaries, which are never dropped.
        is_within: False where the summaries alone take more than was allowed.
    """

    num_evicted: int
    num_bytes: int
    num_kept: int
    is_within: bool


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
        self._file = FeatureFile(path)

    def close(self) -> None:
        """Release the file."""
        self._file.close()

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
        query = "SELECT key, prompt_tokens, response_tokens FROM lengths WHERE key IN ({marks})"
        for key, prompt, response in self._among(query, addresses):
            if not Lengths(prompt, response).fit(limits, max_context):
                cut.add(key)
        return [limited_key(key, limits) if key in cut else key for key in addresses]

    def missing(
        self, keys: Sequence[str], layers: Sequence[int], tokens: bool = False
    ) -> list[int]:
        """Positions in `keys` that lack a summary (or whole states) at any of `layers`."""
        lacking: set[str] = set()
        for kind in ("summary", "tokens") if tokens else ("summary",):
            for layer in set(layers):
                query = f"SELECT key FROM {kind} WHERE layer = {int(layer)} AND key IN ({{marks}})"
                lacking |= set(keys).difference(key for (key,) in self._among(query, keys))
        return [i for i, key in enumerate(keys) if key in lacking]

    def _among(self, query: str, keys: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Rows of a query whose {marks} stand for some of `keys` at a time."""
        for part in _chunks(list(dict.fromkeys(keys))):
            with self._file.told() as db:
                yield from db.execute(query.format(marks=_marks(part)), part).fetchall()

    def put(self, records: Iterable[Record], lengths: Mapping[str, Lengths] | None = None) -> None:
        """Write records, and the lengths of the answers at these addresses, in one transaction.

        What is there already stays as it is.
        """
        now = time.time()
        rows: dict[Kind, list[tuple[Any, ...]]] = {"summary": [], "tokens": []}
        for record in records:
            place = (record.key, record.layer, record.num_tokens)
            for kind, data in record.rows():
                used = (now,) if kind == "tokens" else ()
                rows[kind].append((*place, checksum(*place, data), *used, data))
        with self._file.writing() as db:
            names = "(key, layer, num_tokens, crc, data) VALUES (?, ?, ?, ?, ?)"
            db.executemany(f"INSERT OR IGNORE INTO summary {names}", rows["summary"])
            names = "(key, layer, num_tokens, crc, used_at, data) VALUES (?, ?, ?, ?, ?, ?)"
            db.executemany(f"INSERT OR IGNORE INTO tokens {names}", rows["tokens"])
            db.executemany(
                "INSERT OR IGNORE INTO lengths VALUES (?, ?, ?)",
                [(key, *each) for key, each in (lengths or {}).items()],
            )

    def refuse(self, address: str, limits: Limits, reason: str) -> None:
        """Remember that an answer cannot be encoded under these limits."""
        with self._file.writing() as db:
            row = (limited_key(address, limits), reason)
            db.execute("INSERT OR REPLACE INTO refusal VALUES (?, ?)", row)

    def refusals(self, addresses: Sequence[str], limits: Limits) -> dict[str, str]:
        """Address -> reason, of those that were refused under these limits before."""
        by_key = {limited_key(address, limits): address for address in addresses}
        query = "SELECT key, reason FROM refusal WHERE key IN ({marks})"
        return {by_key[key]: reason for key, reason in self._among(query, list(by_key))}

    def summaries(self, keys: Sequence[str], layer: int) -> Summaries:
        """Mean and end vectors of answers in the order of `keys` (which may repeat).

        Raises:
            FeatureStoreError: an answer was never encoded; encode first.
        """
        import numpy as np

        place = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        num_tokens = np.zeros(len(place), dtype=np.int64)
        rows: np.ndarray | None = None
        damaged: set[str] = set()
        for part in filter(None, self._read("summary", layer, list(place), damaged)):
            at = [place[record[0]] for record in part]
            block = np.frombuffer(b"".join(data for _, _, data in part), dtype="<f4")
            block = block.reshape(len(part), -1)  # [part, 2 H]
            if rows is None:
                rows = np.empty((len(place), block.shape[1]), dtype=np.float32)
            rows[at] = block
            num_tokens[at] = [count for _, count, _ in part]
        if rows is None:
            rows = np.empty((len(place), 0), dtype=np.float32)
        lost = np.array([place[key] for key in damaged], dtype=np.int64)
        rows[lost], num_tokens[lost] = 0.0, 1
        order = np.array([place[key] for key in keys], dtype=np.int64)
        absent = int((num_tokens[order] < 1).sum())
        if absent:
            raise FeatureStoreError(
                f"{absent} of {len(keys)} answers are not encoded at layer {layer}; run the "
                "encoding first."
            )
        if len(place) < len(keys):
            rows, num_tokens = rows[order], num_tokens[order]
        half = rows.shape[1] // 2
        return Summaries(
            mean=rows[:, :half],
            end=rows[:, half:],
            num_tokens=num_tokens,
            damaged=[i for i, key in enumerate(keys) if key in damaged],
        )

    def token_states(self, keys: Sequence[str], layer: int) -> Iterator[tuple[str, np.ndarray]]:
        """Yield (key, float32 [T, H]) for every key that has whole token states at `layer`."""
        for key, _, states in self.tokens(keys, layer):
            yield key, states

    def tokens(
        self, keys: Sequence[str], layer: int
    ) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """The same with the tokens' ids: (key, int32 [T], float32 [T, H])."""
        import numpy as np

        for part in self._read("tokens", layer, list(dict.fromkeys(keys)), set()):
            with self._file.writing() as db:
                db.executemany(
                    "UPDATE tokens SET used_at = ? WHERE key = ? AND layer = ?",
                    [(time.time(), key, layer) for key, _, _ in part],
                )
            for key, num_tokens, data in part:
                ids = np.frombuffer(data, dtype="<i4", count=num_tokens)
                states = np.frombuffer(data, dtype="<f4", offset=4 * num_tokens)
                yield key, ids, states.reshape(num_tokens, -1)

    def _read(
        self, kind: Kind, layer: int, keys: list[str], damaged: set[str]
    ) -> Iterator[list[tuple[str, int, bytes]]]:
        """Checked (key, num_tokens, data), in the order in which they lie in the file.

        Damaged ones are deleted and their keys added to `damaged`.
        """
        query = f"SELECT id FROM {kind} WHERE layer = {int(layer)} AND key IN ({{marks}})"
        ids = sorted(row[0] for row in self._among(query, keys))
        for part in _chunks(ids):
            query = f"SELECT key, num_tokens, data, crc FROM {kind} WHERE id IN ({_marks(part)})"
            with self._file.told() as db:
                rows = db.execute(query, part).fetchall()
            sound = [
                (key, count, data)
                for key, count, data, crc in rows
                if checksum(key, layer, count, data) == crc
            ]
            if len(sound) < len(rows):
                lost = {row[0] for row in rows}.difference(key for key, _, _ in sound)
                damaged |= lost
                with self._file.writing() as db:
                    db.executemany(
                        f"DELETE FROM {kind} WHERE key = ? AND layer = ?",
                        [(key, layer) for key in lost],
                    )
            yield sound

    def evict(self, max_bytes: int) -> Eviction:
        """Drop the whole-token records used longest ago until all records take at most `max_bytes`.

        Not while a run reads them. Summaries stay, whatever they take.
        """
        num_evicted, used = 0, self._file.used_bytes
        while used > max_bytes:
            with self._file.writing() as db:
                query = "SELECT id, length(data) FROM tokens ORDER BY used_at, id LIMIT ?"
                over, victims = used - max_bytes, []
                for rowid, size in db.execute(query, [_CHUNK]):
                    victims.append((rowid,))
                    over -= size
                    if over <= 0:
                        break
                db.executemany("DELETE FROM tokens WHERE id = ?", victims)
            num_evicted += len(victims)
            used = self._file.used_bytes
            if not victims:
                break
        if num_evicted:
            self._file.give_back()
        with self._file.told() as db:
            num_kept = db.execute("SELECT count(*) FROM summary").fetchone()[0]
        return Eviction(num_evicted, used, num_kept, used <= max_bytes)

    def check(self, repair: bool = False) -> StoreReport:
        """Verify every checksum; with `repair`, drop what is damaged (it is encoded again)."""
        if not self._file.is_sound():
            return StoreReport(0, 0, 0, 0, is_sound=False)
        counts, num_damaged = [], 0
        for kind in ("summary", "tokens"):
            with self._file.told() as db:
                total, damaged = 0, []
                query = f"SELECT id, crc, key, layer, num_tokens, data FROM {kind}"
                for rowid, crc, *record in db.execute(query):
                    total += 1
                    if checksum(*record) != crc:
                        damaged.append((rowid,))
            if repair and damaged:
                with self._file.writing() as db:
                    db.executemany(f"DELETE FROM {kind} WHERE id = ?", damaged)
            counts.append(total)
            num_damaged += len(damaged)
        with self._file.told() as db:
            num_refusals = db.execute("SELECT count(*) FROM refusal").fetchone()[0]
        num_bytes = self._file.used_bytes
        return StoreReport(counts[0], counts[1], num_bytes, num_damaged, num_refusals)


def _chunks(items: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]


def _marks(values: Sequence[Any]) -> str:
    return ",".join("?" * len(values))
