"""Feature store candidates: SQLite, LMDB, Arrow through `datasets`, safetensors shards.

    python benchmarks/bench_store.py [--answers 100000] [--hidden 576] [--repeats 3] [--no-save]

Each engine is given the same random summaries (mean and end vector, float32, one layer) in the
commits that an encoding makes (eight answers), and is then asked for a training matrix of all of
them in an order of its own making: look every key up, verify every CRC-32, fill one float32 matrix.
Loads are repeated in turn over the engines, file cache warm, in this process; wall and CPU seconds
are medians. "here" is `rm_core.features.FeatureStore` itself; the others do what it would do with
them. Prints a table and one JSON line, also written to benchmarks/results/store.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import shutil
import sqlite3
import statistics
import subprocess
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from rm_core.features import FeatureStore, Record

HERE = Path(__file__).parent
COMMIT = 8  # answers a forward
SHARD = 512  # answers a shard, for engines that cannot append
LAYER = 18
Batch = list[tuple[str, np.ndarray]]


class Here:
    """This store through its own interface."""

    name = "SQLite, here: 16 kB pages, read in file order"
    crash = "atomic commits; loses nothing to a kill, last commits to a power cut"

    def __init__(self, place: Path) -> None:
        self.store = FeatureStore(place / "features.db")

    def write(self, batches: Iterator[Batch]) -> None:
        for batch in batches:
            self.store.put(Record(key, LAYER, 60, array) for key, array in batch)

    def load(self, keys: Sequence[str]) -> np.ndarray:
        found = self.store.summaries(keys, LAYER)
        assert not found.damaged
        return np.hstack([found.mean, found.end]) if found.mean.base is None else found.mean.base


class FirstSqlite:
    """The first layout: 4 kB pages, read in the keys' order, one object a row."""

    name = "SQLite, first layout: 4 kB pages, read by key"
    crash = "as above"

    def __init__(self, place: Path) -> None:
        self.db = sqlite3.connect(place / "features.db", isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=NORMAL")
        self.db.execute(
            "CREATE TABLE feature (key TEXT NOT NULL, layer INTEGER NOT NULL, kind TEXT NOT NULL, "
            "data BLOB NOT NULL, crc INTEGER NOT NULL, UNIQUE (key, layer, kind))"
        )

    def write(self, batches: Iterator[Batch]) -> None:
        for batch in batches:
            rows = [(key, LAYER, "summary", *_checked(array)) for key, array in batch]
            self.db.execute("BEGIN IMMEDIATE")
            self.db.executemany("INSERT INTO feature VALUES (?, ?, ?, ?, ?)", rows)
            self.db.execute("COMMIT")

    def load(self, keys: Sequence[str]) -> np.ndarray:
        found = {}
        for start in range(0, len(keys), 500):
            part = keys[start : start + 500]
            marks = ",".join("?" * len(part))
            query = f"SELECT key, data, crc FROM feature WHERE layer = ? AND kind = 'summary' AND key IN ({marks})"  # noqa: E501
            for key, data, crc in self.db.execute(query, [LAYER, *part]):
                assert zlib.crc32(data) == crc
                found[key] = np.frombuffer(data, dtype="<f4")
        return np.stack([found[key] for key in keys])


class Lmdb:
    name = "LMDB"
    crash = "atomic commits (metasync off: as SQLite); one size for the file fixed in advance"

    def __init__(self, place: Path) -> None:
        import lmdb

        self.env = lmdb.open(str(place / "lmdb"), map_size=2**36, metasync=False, sync=False)

    def write(self, batches: Iterator[Batch]) -> None:
        for batch in batches:
            with self.env.begin(write=True) as txn:
                for key, array in batch:
                    data, crc = _checked(array)
                    txn.put(_raw(key), crc.to_bytes(4, "little") + data)

    def load(self, keys: Sequence[str]) -> np.ndarray:
        out: np.ndarray | None = None
        with self.env.begin(buffers=True) as txn:
            for row, key in enumerate(keys):
                value = txn.get(_raw(key))
                assert zlib.crc32(value[4:]) == int.from_bytes(value[:4], "little")
                vector = np.frombuffer(value, dtype="<f4", offset=4)
                if out is None:
                    out = np.empty((len(keys), len(vector)), dtype=np.float32)
                out[row] = vector
        assert out is not None
        return out


class Arrow:
    name = f"Arrow through `datasets`, shards of {SHARD}"
    crash = "an unfinished shard is lost; no deletes, no checksums of its own"

    def __init__(self, place: Path) -> None:
        self.place = place

    def write(self, batches: Iterator[Batch]) -> None:
        from datasets import Features, Sequence, Value
        from datasets.arrow_writer import ArrowWriter

        for number, shard in enumerate(_shards(batches)):
            width = shard[0][1].size
            features = Features(
                {
                    "key": Value("string"),
                    "crc": Value("int64"),
                    "data": Sequence(Value("float32"), width),
                }
            )
            part = self.place / f"{number:05d}.part"
            with ArrowWriter(path=str(part), features=features) as writer:
                writer.write_batch(
                    {
                        "key": [key for key, _ in shard],
                        "crc": [_checked(array)[1] for _, array in shard],
                        "data": [array.ravel() for _, array in shard],
                    }
                )
                writer.finalize()
            os.replace(part, part.with_suffix(".arrow"))

    def load(self, keys: Sequence[str]) -> np.ndarray:
        from datasets import Dataset, concatenate_datasets

        files = sorted(self.place.glob("*.arrow"))
        whole = concatenate_datasets([Dataset.from_file(str(file)) for file in files])
        place = {key: row for row, key in enumerate(whole.data.column("key").to_pylist())}
        sums = whole.data.column("crc").to_numpy()
        chunks = whole.data.column("data").chunks
        rows = np.concatenate([c.flatten().to_numpy().reshape(len(c), -1) for c in chunks])
        assert all(zlib.crc32(row) == int(crc) for row, crc in zip(rows, sums, strict=True))
        return rows[[place[key] for key in keys]]


class Safetensors:
    name = f"safetensors, shards of {SHARD}"
    crash = "an unfinished shard is lost; keys and deletes need an index beside it"

    def __init__(self, place: Path) -> None:
        self.place = place

    def write(self, batches: Iterator[Batch]) -> None:
        from safetensors.numpy import save_file

        for number, shard in enumerate(_shards(batches)):
            part = self.place / f"{number:05d}.part"
            rows = np.stack([array.ravel() for _, array in shard])
            index = {"keys": json.dumps([[key, _checked(a)[1]] for key, a in shard])}
            save_file({"data": rows}, part, metadata=index)
            os.replace(part, part.with_suffix(".safetensors"))

    def load(self, keys: Sequence[str]) -> np.ndarray:
        from safetensors import safe_open

        place, parts, row = {}, [], 0
        for file in sorted(self.place.glob("*.safetensors")):
            with safe_open(file, framework="numpy") as shard:
                data = shard.get_tensor("data")
                for vector, (key, crc) in zip(
                    data, json.loads(shard.metadata()["keys"]), strict=True
                ):
                    assert zlib.crc32(vector) == crc
                    place[key] = row
                    row += 1
                parts.append(data)
        return np.concatenate(parts)[[place[key] for key in keys]]


def _raw(key: str) -> bytes:
    return bytes.fromhex(key)


def _checked(array: np.ndarray) -> tuple[bytes, int]:
    data = array.tobytes()
    return data, zlib.crc32(data)


def _shards(batches: Iterator[Batch]) -> Iterator[Batch]:
    shard: Batch = []
    for batch in batches:
        shard += batch
        if len(shard) >= SHARD:
            yield shard
            shard = []
    if shard:
        yield shard


def _disk_bytes(place: Path) -> int:
    return sum(f.stat().st_blocks * 512 for f in place.rglob("*") if f.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--answers", type=int, default=100_000)
    parser.add_argument("--hidden", type=int, default=576)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--place", type=Path, default=None, help="where to write (default: a temporary directory)"
    )
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    keys = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(options.answers)]
    pool = np.random.default_rng(0).standard_normal((997, 2, options.hidden)).astype("<f4")

    def batches() -> Iterator[Batch]:
        for start in range(0, len(keys), COMMIT):
            stop = min(start + COMMIT, len(keys))
            yield [(keys[i], pool[i % len(pool)]) for i in range(start, stop)]

    order = list(range(len(keys)))
    random.Random(0).shuffle(order)
    wanted = [keys[i] for i in order]
    expected = [pool[i % len(pool)].ravel() for i in order[:5]]
    scratch = Path(tempfile.mkdtemp(dir=options.place))
    results: dict[str, dict[str, Any]] = {}
    engines: list[Any] = []
    for kind in (Here, FirstSqlite, Lmdb, Arrow, Safetensors):
        place = scratch / kind.__name__
        place.mkdir()
        engine = kind(place)
        engines.append(engine)
        begin = time.perf_counter()
        engine.write(batches())
        wrote = time.perf_counter() - begin
        results[kind.name] = {
            "write_answers_per_s": round(len(keys) / wrote),
            "megabytes": round(_disk_bytes(place) / 1e6),
            "crash": kind.crash,
            "load_s": [],
            "load_cpu_s": [],
        }
    for _ in range(options.repeats):
        for engine in engines:
            begin, cpu = time.perf_counter(), time.process_time()
            matrix = engine.load(wanted)
            results[engine.name]["load_s"].append(round(time.perf_counter() - begin, 3))
            results[engine.name]["load_cpu_s"].append(round(time.process_time() - cpu, 3))
            assert matrix.shape == (len(keys), 2 * options.hidden)
            assert all((matrix[i] == row).all() for i, row in enumerate(expected))
            del matrix
    shutil.rmtree(scratch)
    for name, each in results.items():
        for figure in ("load_s", "load_cpu_s"):
            each[f"median_{figure}"] = statistics.median(each[figure])
        print(
            f"{each['write_answers_per_s']:8d} answers/s written  {each['megabytes']:5d} MB  "
            f"load {each['median_load_s']:6.2f} s ({each['median_load_cpu_s']:.2f} s CPU)   {name}"
        )
    result = {
        "benchmark": "store",
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "answers": options.answers,
        "hidden": options.hidden,
        "cores": os.cpu_count(),
        "load_average_at_the_end": [round(x, 1) for x in os.getloadavg()],
        "versions": {
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            **{name: version(name) for name in ("numpy", "lmdb", "datasets", "safetensors")},
        },
        "engines": results,
    }
    print(json.dumps(result))
    if not options.no_save:
        (HERE / "results").mkdir(exist_ok=True)
        (HERE / "results/store.json").write_text(json.dumps(result, indent=1) + "\n")


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


if __name__ == "__main__":
    main()
