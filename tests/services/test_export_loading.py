"""Exported files in other people's hands: `datasets` loads them whole, TRL trains on them."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from db import content
from db.content import NewPair, NewVote
from db.engine import Database
from db.models import utc_now
from studio.services import adjudication, editing, exporting, importing, labelling
from tests.rows import make_project, new_pair, open_pairs, user, write_jsonl

datasets = pytest.importorskip("datasets")

LONG = "word " * 600  # 6 kB a pair: the first ten megabytes are imported votes alone
NUM_IMPORTED = 2400


def _imported(number: int) -> NewPair:
    vote = NewVote(id=str(uuid.uuid4()), annotator="import:f:merged", choice="a")
    return NewPair(
        user(f"question {number}"), f"{LONG}a{number}", f"{LONG}b{number}", votes=(vote,)
    )


def _judge(database: Database, project_id: int, **more: Any) -> dict[str, Any]:
    (shown,) = labelling.next_pairs(database, project_id, "ann", count=1)["pairs"]
    vote = {"vote_id": str(uuid.uuid4()), "showing_id": shown["showing_id"], "choice": "left"}
    labelling.cast_vote(database, project_id, "ann", vote | more)
    return shown


@pytest.fixture
def project_id(database: Database) -> int:
    """14 MB of imported pairs, then people's votes with everything that can go with one."""
    pairs = [*map(_imported, range(NUM_IMPORTED))]
    project_id = make_project(database, pairs, reasons=["Short"], aspects=["Tone"])
    with database.write() as s:
        content.add_pairs(s, project_id, open_pairs(4), wanted_votes=1, now=utc_now())
    _judge(database, project_id)
    shown = _judge(
        database, project_id, strength=2, reasons=["Short"], duration_ms=1200,
        aspects={"Tone": {"left": 5, "right": 1}},
    )  # fmt: skip
    last_word = {
        "vote_id": str(uuid.uuid4()),
        "choice": "a",
        "strength": 1,
        "comment": "2020-01-01",
    }
    adjudication.adjudicate(database, project_id, "mara", shown["pair_id"], last_word)
    (shown,) = labelling.next_pairs(database, project_id, "ann", count=1)["pairs"]
    edit = {"vote_id": str(uuid.uuid4()), "showing_id": shown["showing_id"], "side": "left"}
    editing.edit(database, project_id, "ann", edit | {"text": "a better answer"})
    return project_id


def _load(path: Path, cache: Path) -> Any:
    return datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(cache))


def test_files_of_more_than_one_block_load_with_datasets(
    database: Database, project_id: int, tmp_path: Path
) -> None:
    for kind, fmt in (("votes", "jsonl"), ("pairs", "jsonl"), ("pairs", "trl")):
        for ending in ("jsonl", "jsonl.gz"):
            out = tmp_path / f"{kind}-{fmt}.{ending}"
            report = exporting.export(database, project_id, kind, fmt, out)
            assert ending.endswith("gz") or out.stat().st_size > 12 * 2**20
            rows = _load(out, tmp_path / f"cache {out.name}")
            assert rows.num_rows == report.rows >= NUM_IMPORTED + 3, out.name
            if fmt == "trl":
                assert set(rows["split"]) == {"train", "heldout"}
            else:
                _check_all_is_there(rows)
    assert not list(tmp_path.glob("*.rest"))


def _check_all_is_there(rows: Any) -> None:
    settled = next(row for row in rows if row["adjudication"] is not None)
    assert settled["adjudication"]["annotator"] == "mara"
    assert settled["adjudication"]["comment"] == "2020-01-01"
    (vote,) = settled["votes"]
    assert (vote["strength"], vote["reasons"], vote["duration_ms"]) == (2, ["Short"], 1200)
    (rating,) = vote["aspects"]
    assert rating.pop("aspect") == "Tone"
    assert sorted(rating.values()) == [1, 5]
    edited = [row["sources"] for row in rows if any(row["sources"])]
    assert edited
    assert "person:ann" in edited[0]


def test_metadata_of_every_shape_loads_and_comes_in_again(
    database: Database, tmp_path: Path
) -> None:
    metas = [{}, {"k": 1}, {"k": "text"}, {"k": [1, {"deep": None}]}, {"other": True}]
    given = [
        {"id": "2020-01-01", "prompt": f"q{n}", "chosen": "x", "rejected": "y", "meta": meta}
        for n, meta in enumerate(metas)
    ]
    source = write_jsonl(tmp_path / "f.jsonl", given)
    project_id = importing.import_file(database, source, project_name="m").project_id
    assert project_id is not None
    out = tmp_path / "m.jsonl"
    exporting.export(database, project_id, "pairs", "jsonl", out)
    assert _load(out, tmp_path / "cache").num_rows == len(metas)
    report = importing.import_file(database, out, project_name="n")
    assert (report.imported, report.num_refused) == (len(metas), 0)


# TRL and transformers among themselves: a name that one still uses and the other renames.
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning")
@pytest.mark.parametrize("form", ["conversational", "standard"])
def test_trl_trains_on_an_export_as_it_is(
    sqlite_database: Database, tiny_backbone: Path, tmp_path: Path, form: str
) -> None:
    trl = pytest.importorskip("trl")
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    project_id = make_project(sqlite_database, [new_pair(number, "a") for number in range(20)])
    out = tmp_path / "pairs.jsonl"
    exporting.export(sqlite_database, project_id, "pairs", "trl", out)
    rows = _load(out, tmp_path / "cache").filter(lambda row: row["split"] == "train")
    tokenizer = AutoTokenizer.from_pretrained(tiny_backbone)
    if form == "standard":  # plain texts, by TRL's own function
        rows = rows.map(trl.apply_chat_template, fn_kwargs={"processing_class": tokenizer})
        assert isinstance(rows[0]["chosen"], str)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_backbone, num_labels=1)
    model.config.pad_token_id = tokenizer.pad_token_id
    before = model.score.weight.detach().clone()
    config = trl.RewardConfig(
        output_dir=str(tmp_path / "run"), max_steps=2, per_device_train_batch_size=4,
        learning_rate=1e-2, use_cpu=True, bf16=False, report_to="none", save_strategy="no",
        disable_tqdm=True, gradient_checkpointing=False,
    )  # fmt: skip
    trainer = trl.RewardTrainer(
        model=model, args=config, train_dataset=rows, processing_class=tokenizer
    )
    assert len(trainer.train_dataset) == rows.num_rows > 10
    trained = trainer.train()
    assert trained.global_step == 2
    assert not model.score.weight.equal(before)
