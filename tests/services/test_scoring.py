"""Scores for the playground and the console: exact, in step with their lines, and forgiving."""

from __future__ import annotations

import json
import math

import pytest

from studio.services import scoring
from studio.services.errors import NotFound, StudioError, UsageError
from tests.workspace import Workspace, kindness

PROMPT = [{"role": "user", "content": "How do I fold a letter?"}]
TEXTS = ["gladly, 世界 👩‍👩‍👧!\n\tdone  ", "", "never\r\nnonsense <|im_end|> x", "naïve café"]


def test_tokens_rejoin_to_the_answer_and_their_shares_to_the_reward(trained: Workspace) -> None:
    comparison = scoring.compare(
        trained.database, trained.settings, trained.project_id, PROMPT, TEXTS
    )
    for text, answer in zip(TEXTS, comparison["answers"], strict=True):
        assert "".join(token["text"] for token in answer["tokens"]) == text
        shares = math.fsum(token["contribution"] for token in answer["tokens"])
        assert shares == pytest.approx(answer["reward"], abs=1e-6)
        assert answer["prompt_value"] is not None
    json.dumps(comparison)


def test_two_answers_have_a_probability_that_follows_their_rewards(trained: Workspace) -> None:
    kind, rude = "gladly thanks please kindly", "stupid hate never shut"

    def compare(*answers: str) -> dict:
        return scoring.compare(
            trained.database, trained.settings, trained.project_id, PROMPT, answers
        )

    there, back = compare(kind, rude), compare(rude, kind)
    assert there["prob_a_better"] > 0.5 > back["prob_a_better"]
    assert there["prob_a_better"] + back["prob_a_better"] == pytest.approx(1)
    assert compare(kind)["prob_a_better"] is None
    assert compare(kind, kind)["prob_a_better"] == pytest.approx(0.5)


def test_a_comparison_says_what_it_was_made_with(trained: Workspace) -> None:
    made = scoring.compare(trained.database, trained.settings, trained.project_id, "hi", ["a", "b"])
    assert made["checkpoint"]["id"] >= 1
    assert made["backbone"]
    assert made["device"] == "cpu"


def test_spelled_control_tokens_are_warned_of(trained: Workspace) -> None:
    made = scoring.compare(
        trained.database, trained.settings, trained.project_id, "hi", ["a<|im_end|>b"]
    )
    assert "control tokens" in made["answers"][0]["warnings"][0]


def test_without_a_checkpoint_the_error_says_what_to_do(empty_workspace: Workspace) -> None:
    here = empty_workspace
    project_id = here.add(kindness(2))
    with pytest.raises(StudioError, match="train it first"):
        scoring.compare(here.database, here.settings, project_id, "hi", ["a", "b"])
    with pytest.raises(NotFound, match="none yet"):
        scoring.find_checkpoint(here.database, project_id, 3)
    with pytest.raises(NotFound, match="none yet"):
        scoring.any_checkpoint(here.database, 3)


@pytest.mark.parametrize(
    ("prompt", "part"),
    [
        ([], "an empty list"),
        (3, "a number"),
        (None, "null"),
        ([{"role": "user"}], "role and a content"),
        ([{"role": "user", "content": 3}], "message 1"),
        (["hi"], "message 1"),
        ([{"role": "usr", "content": "hi"}], "unknown role 'usr'"),
    ],
)
def test_a_prompt_that_is_none_is_described(prompt: object, part: str) -> None:
    with pytest.raises(UsageError, match=part):
        scoring.check_prompt(prompt)


def test_lines_out_stay_in_step_with_lines_in(trained: Workspace) -> None:
    model = scoring.load_model(
        trained.settings, scoring.newest_checkpoint(trained.database, trained.project_id)
    )
    good = json.dumps({"prompt": PROMPT, "response": "gladly"}).encode()
    lines = [
        good,
        b"",
        b"not json",
        b'{"prompt": "x"}',
        b'{"prompt": "x", "response": 4}',
        b'{"prompt": "x", "response": "\\ud800"}',
        b"\xff\xfe",
        b"[1]",
        good,
        b"\n",
    ]
    scored = list(scoring.score_lines(model, lines, tokens=False))
    assert len(scored) == 9
    assert scored[0] == scored[8]
    assert set(scored[0]) == {"reward"}
    for number, (line, part) in enumerate(
        zip(
            scored[1:8],
            [
                "empty",
                "not JSON",
                "response is missing",
                "a number",
                "surrogate",
                "UTF-8",
                "a list",
            ],
            strict=True,
        ),
        start=2,
    ):
        assert set(line) == {"error"}
        assert line["error"].startswith(f"line {number}: ")
        assert part in line["error"]


def test_a_pair_of_the_project_comes_with_its_verdict(trained: Workspace) -> None:
    pair = scoring.project_pair(trained.database, trained.project_id, "random")
    assert {pair["response_a"], pair["response_b"]} & {"", *TEXTS} == set()
    assert pair["verdict"]["num_votes"] == 1
    assert pair["verdict"]["target"] in {0.0, 1.0}
    assert scoring.project_pair(trained.database, trained.project_id, pair["pair_id"]) == pair
    with pytest.raises(NotFound, match="no pair 9999"):
        scoring.project_pair(trained.database, trained.project_id, 9999)
