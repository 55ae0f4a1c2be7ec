"""The demo project: real pairs, two thirds of the prompts judged, seeded once."""

from __future__ import annotations

from importlib import resources

from db import votes
from db.content import prompt_hash, split_of
from db.engine import Database
from studio.services import demo, labelling, projects


def test_the_demo_is_seeded_once_and_then_left_alone(database: Database) -> None:
    info = demo.seed_demo(database, "some/backbone")
    assert (info.name, info.backbone) == ("demo", "some/backbone")
    assert (info.num_pairs, info.num_judged + info.num_open) == (754, 754)
    labelling.next_pairs(database, info.id, "local")
    projects.archive(database, info.id)
    again = demo.seed_demo(database)
    assert (again.id, again.archived, again.num_pairs) == (info.id, True, 754)
    assert len(projects.list_all(database, include_archived=True)) == 1


def test_all_held_out_prompts_and_two_thirds_in_all_are_judged(sqlite_database: Database) -> None:
    info = demo.seed_demo(sqlite_database)
    prompts = {prompt_hash(row["prompt"]) for row in demo.demo_rows()}
    with sqlite_database.read() as s:
        judged = votes.judged_pairs(s, info.id)
    judged_prompts = {pair.prompt_hash for pair in judged}
    heldout = {each for each in prompts if split_of(each) == "heldout"}
    assert heldout <= judged_prompts
    assert len(heldout) >= 30
    assert abs(len(judged_prompts) - len(prompts) * 2 / 3) < 1
    sides = {pair.target for pair in judged}
    assert sides == {0.0, 1.0}


def test_the_choice_of_judged_prompts_does_not_depend_on_the_rows_order() -> None:
    hashes = [prompt_hash(row["prompt"]) for row in demo.demo_rows()]
    assert demo.judged_prompts(hashes) == demo.judged_prompts(reversed(hashes))
    assert demo.judged_prompts([]) == set()


def test_the_data_comes_with_licence_and_credit() -> None:
    readme = resources.files("studio").joinpath("demo", "README.md").read_text(encoding="utf-8")
    assert "Apache" in readme
    assert "Open-Assistant" in readme
    assert {row["licence"] for row in demo.demo_rows()} == {"Apache-2.0"}
    assert all("group" in row["meta"] for row in demo.demo_rows())
