"""How SQLite finds the next pair: by the index made for it, with statistics and without."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from db.engine import Database
from studio.services import labelling
from tests.rows import make_project, open_pairs

# What ANALYZE writes of 100,000 pairs with a million votes: most slots are filled.
LARGE = {
    "slot": {
        "ix_slot_open": "200000 200000 2 1", "ix_slot_unfilled": "200000 200000 2",
        "ix_slot_priority": "5000 5000 2 1", "ix_slot_filled": "1000000 1",
        "uq_slot_annotator": "1000000 10 1", "sqlite_autoindex_slot_1": "1200000 12 1",
    },
    "vote": {
        "uq_vote_label": "1000000 10 1", "ix_vote_own": "1000000 1000000 20000 20000 10000 1",
        "ix_vote_annotator": "1000000 1000000 20000 20000", "ix_vote_showing_id": "1000000 1",
        "ix_vote_pair": "1000000 1000000 10 5",
    },
    "pair": {"ix_pair_project_id": "100000 100000 100000"},
}  # fmt: skip


@pytest.mark.parametrize("strategy", ["random", "in_order", "information"])
@pytest.mark.parametrize("is_analyzed", [False, True], ids=["as it grew", "analyzed"])
def test_no_request_of_the_label_page_sorts_slots_or_walks_over_all_votes(
    sqlite_database: Database, strategy: str, is_analyzed: bool
) -> None:
    database = sqlite_database
    ranking = {"strategy": "information", "checkpoint_id": 1}
    project_id = make_project(
        database, open_pairs(9), wanted_votes=2, queue_strategy=strategy, ranking=ranking
    )
    if is_analyzed:
        with database.write() as s:
            s.execute(sa.text("UPDATE slot SET priority = pair_id, acquisition_score = 0.5"))
            s.execute(sa.text("ANALYZE"))
            s.execute(sa.text("DELETE FROM sqlite_stat1"))
            insert = sa.text("INSERT INTO sqlite_stat1 VALUES (:tbl, :idx, :stat)")
            for table, indexes in LARGE.items():
                for index, stat in indexes.items():
                    s.execute(insert, {"tbl": table, "idx": index, "stat": stat})
        database.dispose()  # connections read statistics when they open the file
    seen: dict[str, Any] = {}

    @sa.event.listens_for(database.engine, "before_cursor_execute")
    def keep(conn: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen[statement] = parameters

    for _ in range(4):
        (shown,) = labelling.next_pairs(database, project_id, "ann", count=1)["pairs"]
        vote = {"vote_id": str(uuid.uuid4()), "showing_id": shown["showing_id"], "choice": "left"}
        labelling.cast_vote(database, project_id, "ann", vote)
        labelling.undo(database, project_id, "ann", vote_id=vote["vote_id"])
        labelling.cast_vote(database, project_id, "ann", vote | {"vote_id": str(uuid.uuid4())})
    sa.event.remove(database.engine, "before_cursor_execute", keep)
    assert any(statement.startswith("UPDATE slot") for statement in seen)
    with database.engine.connect() as connection:
        for statement, parameters in seen.items():
            if "EXPLAIN" in statement or statement.startswith(("PRAGMA", "BEGIN", "INSERT")):
                continue
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plan = [row[3] for row in rows]
            assert not [step for step in plan if step.startswith(("SCAN vote", "SCAN slot"))], plan
            if "closed_at IS NULL" in statement and "pair_id = ?" not in statement:
                assert any("ix_selection_open" in step for step in plan), (statement, plan)
            if "'in_order'" in statement:
                assert any("ix_selection_in_order" in step for step in plan), (statement, plan)
            if statement.startswith(("UPDATE slot", "SELECT slot")):
                assert "USE TEMP B-TREE FOR ORDER BY" not in plan, (statement, plan)
