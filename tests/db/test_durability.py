"""An acknowledged vote survives the death of the process that stored it."""

from __future__ import annotations

import subprocess
import sys

from sqlalchemy import select, text

from db.engine import Database
from db.models import Slot, Vote
from tests.rows import make_project, open_pairs

VOTER = """
import sys, uuid
from db.engine import open_database
from studio.services import labelling
database = open_database(sys.argv[1])
while True:
    for shown in labelling.next_pairs(database, int(sys.argv[2]), "local")["pairs"]:
        vote = {"vote_id": str(uuid.uuid4()), "showing_id": shown["showing_id"], "choice": "left"}
        answer = labelling.cast_vote(database, int(sys.argv[2]), "local", vote)
        print(answer["status"], answer["vote_id"], flush=True)
"""


def test_every_acknowledged_vote_survives_kill_9(database: Database) -> None:
    project_id = make_project(database, open_pairs(400))
    acknowledged = []
    with subprocess.Popen(
        [sys.executable, "-c", VOTER, database.url, str(project_id)], stdout=subprocess.PIPE
    ) as voter:
        assert voter.stdout is not None
        for line in voter.stdout:
            status, vote_id = line.decode().split()
            assert status == "stored"
            acknowledged.append(vote_id)
            if len(acknowledged) == 20:
                voter.kill()
                break
    assert len(acknowledged) == 20
    with database.write() as s:  # whatever the dead process had begun is gone
        stored = s.scalars(select(Vote.id)).all()
        filled = s.scalars(select(Slot.vote_id).where(Slot.vote_id.is_not(None))).all()
        if database.is_sqlite:
            assert s.scalars(text("PRAGMA integrity_check")).all() == ["ok"]
    assert set(acknowledged) <= set(stored)
    assert sorted(stored) == sorted(filled)
