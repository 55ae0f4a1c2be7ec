"""The playground's service: exact scores, sure of what it is sure of, pairs in and pairs out."""

from __future__ import annotations

import json
import math
import uuid

import numpy as np
import pytest

from db import pair_texts
from db.engine import Database
from studio.services import labelling, playground, playground_pairs, scoring
from studio.services.errors import Conflict, NotFound, StudioError, UsageError
from studio.services.people import LOCAL, NotAllowed, Person
from tests.rows import make_project, open_pairs
from tests.workspace import Workspace, kindness

PROMPT = [{"role": "user", "content": "How do I fold a letter?"}]
TEXTS = ["gladly, 世界 👩‍👩‍👧!\n\tdone  ", "", "never\r\nnonsense <|im_end|> x", "naïve café"]


def compare(here: Workspace, *answers: str, **options: object) -> dict:
    return playground.compare(
        here.database, here.settings, here.project_id, PROMPT, answers, **options  # type: ignore[arg-type]
    )  # fmt: skip


def test_tokens_rejoin_to_the_answer_and_their_shares_to_the_reward(trained: Workspace) -> None:
    comparison = compare(trained, *TEXTS)
    for text, answer in zip(TEXTS, comparison["answers"], strict=True):
        assert "".join(token["text"] for token in answer["tokens"]) == text
        shares = math.fsum(token["contribution"] for token in answer["tokens"])
        assert shares == pytest.approx(answer["reward"], abs=1e-6)
        assert answer["prompt_value"] is not None
    json.dumps(comparison)


def test_every_two_answers_have_a_probability_that_follows_their_rewards(
    trained: Workspace,
) -> None:
    made = compare(trained, "gladly thanks please kindly", "stupid hate never shut", "a", "a")
    prob, std = np.array(made["prob_better"]), np.array(made["difference_std"])
    assert prob + prob.T == pytest.approx(np.ones((4, 4)))
    assert prob[0, 1] > 0.5 > prob[1, 0]
    assert prob[2, 3] == pytest.approx(0.5)
    assert std == pytest.approx(std.T)
    assert std[0, 1] > 0
    assert std[2, 3] == pytest.approx(0, abs=1e-6)  # what both answers share cancels
    assert made["checkpoint"]["id"] >= 1
    assert made["backbone"]
    assert made["device"] == "cpu"


def test_a_leaning_to_length_is_told_by_the_correlation_else_by_the_two_slices() -> None:
    def slices(longer: list[float], shorter: list[float]) -> dict:
        named = {"chosen_longer": longer, "chosen_shorter": shorter}
        figures = {name: {"accuracy": sum(ci) / 2, "accuracy_ci": ci} for name, ci in named.items()}
        return {"evaluation": "heldout", "by_length": figures}

    lean = playground.length_leaning
    apart = slices([0.8, 0.9], [0.2, 0.4])
    told = lean(apart | {"reward_length_correlation": 0.91, "evaluation": "cross-validation"})
    assert told is not None
    assert (told["leans_to"], told["correlation"]) == ("longer", 0.91)
    assert told["measured_on"] == "left-out pairs"
    assert lean(apart | {"reward_length_correlation": 0.2}) is None
    shorter = lean({"reward_length_correlation": -0.7})
    assert shorter is not None
    assert shorter["leans_to"] == "shorter"
    by_slices = lean(apart)
    assert by_slices is not None
    assert (by_slices["leans_to"], by_slices["correlation"]) == ("longer", None)
    assert by_slices["right_shorter"] == pytest.approx(0.3)
    assert by_slices["measured_on"] == "held-out pairs"
    assert lean(slices([0.4, 0.7], [0.5, 0.8])) is None
    assert lean({}) is None


def test_an_edited_answer_costs_what_changed_and_scores_as_from_scratch(
    trained: Workspace,
) -> None:
    model = scoring.load_model(
        trained.settings, scoring.newest_checkpoint(trained.database, trained.project_id)
    )
    compare(trained, "gladly and warmly", "never")
    for text in ["gladly and warmlyx", "gladly and", "Xgladly and", "", TEXTS[0]]:
        made = compare(trained, text, "never")
        for answer, given in zip(made["answers"], [text, "never"], strict=True):
            want = model.token_scores(PROMPT, given)
            assert answer["reward"] == pytest.approx(want.reward, abs=1e-4)
            assert [t["contribution"] for t in answer["tokens"]] == pytest.approx(
                [t.contribution for t in want.tokens], abs=1e-4
            )
    assert compare(trained, "gladly!", "never")["num_encoded"] < 8
    assert compare(trained, "gladly!", "never")["num_encoded"] == 0


def test_two_checkpoints_score_the_same_answers_side_by_side(trained: Workspace) -> None:
    newest = scoring.newest_checkpoint(trained.database, trained.project_id)
    made = compare(trained, "gladly", "never", against_id=newest.id)
    assert [a["reward"] for a in made["against"]["answers"]] == pytest.approx(
        [a["reward"] for a in made["answers"]]
    )
    with pytest.raises(NotFound, match="no checkpoint 99"):
        compare(trained, "gladly", "never", against_id=99)


def test_what_cannot_be_scored_is_refused_in_a_sentence(
    trained: Workspace, empty_workspace: Workspace
) -> None:
    assert "control tokens" in compare(trained, "a<|im_end|>b")["answers"][0]["warnings"][0]
    with pytest.raises(UsageError, match="9 answers were given: give 1 to 8"):
        compare(trained, *"abcdefghi")
    with pytest.raises(UsageError, match="lone surrogate"):
        compare(trained, "\ud800")
    with pytest.raises(UsageError, match=r"210,0\d\d characters"):
        compare(trained, "word " * 42_000)
    with pytest.raises(playground.Stale):
        compare(trained, "a new text", is_stale=lambda: True)
    empty_workspace.project_id = empty_workspace.add(kindness(2))
    with pytest.raises(StudioError, match="train it first"):
        compare(empty_workspace, "a", "b")
    assert playground.options(empty_workspace.database, 1)["newest"] is None


def test_a_pair_of_the_project_comes_with_its_verdict(trained: Workspace) -> None:
    def opened(wanted: int | str) -> dict:
        return playground_pairs.open_pair(trained.database, trained.project_id, LOCAL, wanted)

    pair = opened("random")
    assert pair["verdict"]["num_votes"] == 1
    assert pair["verdict"]["target"] in {0.0, 1.0}
    assert opened(pair["pair_id"]) == pair
    with pytest.raises(NotFound, match="no pair 9999"):
        opened(9999)
    with pytest.raises(NotFound, match="nobody disagrees"):
        opened("disputed")


def test_a_disputed_pair_is_one_with_votes_for_both(empty_workspace: Workspace) -> None:
    here = empty_workspace
    votes = [{"annotator": "x", "choice": "a"}, {"annotator": "y", "choice": "b"}]
    rows = [
        {"prompt": "One?", "answers": ["a", "b"], "votes": votes},
        {"prompt": "Two?", "answers": ["c", "d"], "votes": votes[:1]},
    ]
    project_id = here.add(rows)
    found = playground_pairs.open_pair(here.database, project_id, LOCAL, "disputed")
    assert found["messages"][0]["content"] == "One?"


def test_whoever_has_a_pair_to_judge_is_not_told_what_others_said(database: Database) -> None:
    project_id = make_project(database, open_pairs(6), wanted_votes=2)
    first, second, lead = (
        Person(name, roles={project_id: role})
        for name, role in (("first", "annotator"), ("second", "annotator"), ("mara", "lead"))
    )

    def judge(who: Person, choice: str) -> int:
        (shown,) = labelling.next_pairs(database, project_id, who.name, count=1)["pairs"]
        vote = {"vote_id": str(uuid.uuid4()), "showing_id": shown["showing_id"], "choice": choice}
        labelling.cast_vote(database, project_id, who.name, vote)
        return shown["pair_id"]

    def opened(who: Person, wanted: int | str) -> dict:
        return playground_pairs.open_pair(database, project_id, who, wanted)

    judged = [judge(first, "left") for _ in range(4)]
    assert all(opened(first, "random")["pair_id"] in judged for _ in range(5))
    assert opened(first, judged[0])["verdict"]["of"] == "you"
    for wanted in (judged[0], "random"):  # open in front of the second annotator, or not yet
        with pytest.raises(NotFound, match="opens pairs after your verdict"):
            opened(second, wanted)
    with pytest.raises(NotAllowed):
        opened(first, "disputed")
    assert opened(lead, judged[0])["verdict"]["num_votes"] == 1  # reads, and labels nothing
    own = judge(lead, "left")
    waiting = next(pair_id for pair_id in judged if pair_id != own)
    assert opened(lead, waiting)["verdict"] is None
    assert opened(lead, own)["verdict"]["of"] == "all"
    judge(second, "tie")  # somebody else's verdict is never shown, not even of a judged pair
    assert opened(second, "random")["verdict"] == {"target": 0.5, "num_votes": 1, "of": "you"}


def test_two_answers_become_one_pair_to_label_however_often_they_are_sent(
    empty_workspace: Workspace,
) -> None:
    here = empty_workspace
    project_id = here.add(kindness(3))

    def send(first: str, second: str) -> dict:
        return playground_pairs.send(
            here.database, here.settings, project_id, "mara", PROMPT, first, second
        )

    sent = send("one", "two")
    assert sent["is_new"]
    assert send("two", "one") == {"pair_id": sent["pair_id"], "is_new": False}
    with here.database.read() as s:
        pair = pair_texts.get_pair(s, project_id, sent["pair_id"])
    assert pair is not None
    assert pair.meta["source"] == "playground:mara"
    assert {pair.response_a, pair.response_b} == {"one", "two"}
    with pytest.raises(UsageError, match="two answers are equal"):
        send("one", "one")
    with pytest.raises(UsageError, match="NUL"):
        send("one", "\x00")
    with pytest.raises((NotFound, Conflict)):
        playground_pairs.send(here.database, here.settings, 99, "mara", PROMPT, "a", "b")
