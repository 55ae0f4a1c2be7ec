"""Columns of other people's files: which holds what, and rows turned into the studio's own form.

    mapping = propose(["question", "answer_1", "answer_2", "winner"])
    row = mapped_row(raw, mapping)         # then row_pairs(row), as ever

A mapping gives, for each of our fields, the file's column. Without one the file must be in the
forms of import_rows. Nothing is guessed at import: a proposal is shown, and what the lead confirms
is what is used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from studio.services.errors import UsageError
from studio.services.import_files import RowRefused, text_of


@dataclass(frozen=True)
class Field:
    """One of our fields: its name, what a page calls it, and names that others give it."""

    name: str
    label: str
    known_as: tuple[str, ...]


FIELDS = (
    Field("prompt", "Prompt", ("prompt", "question", "instruction", "query", "input", "context",
                               "messages", "conversation", "history", "user_prompt")),
    Field("system", "System prompt", ("system", "system_prompt", "system_message")),
    Field("chosen", "Chosen answer", ("chosen", "preferred", "better", "winner_response", "good",
                                      "chosen_response", "accepted", "response_chosen")),
    Field("rejected", "Rejected answer", ("rejected", "dispreferred", "worse", "loser_response",
                                          "bad", "rejected_response", "response_rejected")),
    Field("answer_a", "First answer", ("answer_a", "answer_1", "answer1", "response_a",
                                       "response_0", "response_1", "response1", "completion_a",
                                       "output_1", "response_j", "a", "conversation_a")),
    Field("answer_b", "Second answer", ("answer_b", "answer_2", "answer2", "response_b",
                                        "response_2", "response2", "completion_b", "output_2",
                                        "response_k", "b", "conversation_b")),
    Field("verdict", "Verdict on the two", ("verdict", "winner", "label", "preference", "choice",
                                            "better_response_id", "better_answer", "judgement")),
    Field("responses", "List of answers", ("responses", "answers", "completions", "candidates",
                                           "outputs", "generations")),
    Field("scores", "Scores of the list", ("scores", "ratings", "ranks_score")),
    Field("source_a", "Author of the first or chosen answer", (
        "source_a", "model_a", "chosen_model", "chosen_source", "model_1")),
    Field("source_b", "Author of the second or rejected answer", (
        "source_b", "model_b", "rejected_model", "rejected_source", "model_2")),
    Field("annotator", "Annotator", ("annotator", "annotator_id", "worker", "worker_id", "rater",
                                     "judge", "labeler", "user_id")),
    Field("category", "Category", ("category", "topic", "subset", "task", "type", "domain")),
    Field("id", "Row id", ("id", "uid", "example_id", "prompt_id", "question_id")),
)  # fmt: skip
NAMES = {field.name for field in FIELDS}
OWN_FORM = ({"chosen", "rejected"}, {"prompt", "answers"}, {"prompt", "responses"})
FIRST_NUMBER = "first_number"  # not a column: the number that stands for the first answer, 0 or 1
A_WINS = {"a", "left", "first", "model_a", "answer_a", "response_a", "response_1", "answer_1",
          "chosen", "a>b", "a>>b"}  # fmt: skip
B_WINS = {"b", "right", "second", "model_b", "answer_b", "response_b", "response_2",
          "answer_2", "rejected", "b>a", "b>>a"}  # fmt: skip
TIES = {"tie", "equal", "same", "draw", "both", "a=b", "tie (both good)"}
BOTH_BAD = {"both_bad", "both bad", "neither", "tie (bothbad)", "tie (both bad)"}


def propose(columns: Sequence[str]) -> dict[str, str]:
    """For each of our fields the column whose name says that it holds it; each column once."""
    plain = {_plain(column): column for column in reversed(columns)}
    mapping: dict[str, str] = {}
    for field in FIELDS:
        found = next((plain[name] for name in field.known_as if name in plain), None)
        if found is not None and found not in mapping.values():
            mapping[field.name] = found
    return mapping


def is_own_form(columns: Sequence[str]) -> bool:
    """Whether rows with these columns can be read without a mapping."""
    return any(form <= set(columns) for form in OWN_FORM)


def checked(mapping: Mapping[str, str], columns: Sequence[str] | None = None) -> dict[str, str]:
    """The mapping without empty entries; UsageError where it cannot be one."""
    given = {name: column for name, column in mapping.items() if column}
    if given.get(FIRST_NUMBER, "1") not in ("0", "1"):
        raise UsageError(f"{FIRST_NUMBER} is {given[FIRST_NUMBER]!r}; it is 0 or 1")
    for name, column in given.items():
        if name == FIRST_NUMBER:
            continue
        if name not in NAMES:
            raise UsageError(f"unknown field {name!r}; the fields are {', '.join(sorted(NAMES))}")
        if columns is not None and column not in columns:
            raise UsageError(f"the file has no column {column!r}; it has {', '.join(columns)}")
    whole = {"chosen", "rejected"} <= given.keys()
    two = {"answer_a", "answer_b"} <= given.keys()
    if not (whole or two or "responses" in given):
        raise UsageError(
            "the columns name no answers; map chosen and rejected, or both answers, or the list"
        )
    return given


def mapped_row(row: Mapping[str, Any], mapping: Mapping[str, str]) -> dict[str, Any]:
    """The row in a form that `row_pairs` reads; RowRefused where its verdict says nothing known.

    Columns that are not mapped stay as they are and end in the pair's metadata.
    """
    taken = {name: row.get(column) for name, column in mapping.items() if name in NAMES}
    rest = {name: value for name, value in row.items() if name not in mapping.values()}
    for name in NAMES & rest.keys():  # an unmapped column must not pass for one of our fields
        rest[f"file.{name}"] = rest.pop(name)
    made: dict[str, Any] = {name: rest[name] for name in rest if name != "meta"}
    meta = dict(rest["meta"]) if isinstance(rest.get("meta"), Mapping) else {}
    if taken.get("category") is not None:
        meta["category"] = taken["category"]
    if meta:
        made["meta"] = meta
    if taken.get("id") is not None:
        made["id"] = taken["id"]
    if "prompt" in taken:
        made["prompt"] = _with_system(taken["prompt"], taken.get("system"))
    return made | _answers(taken, mapping)


def _answers(taken: Mapping[str, Any], mapping: Mapping[str, str]) -> dict[str, Any]:
    sources = [taken.get("source_a"), taken.get("source_b")]
    named = {"sources": sources} if any(sources) else {}
    if "chosen" in mapping:
        made: dict[str, Any] = {"chosen": taken["chosen"], "rejected": taken.get("rejected")}
        if taken.get("annotator") is not None:
            made["annotator"] = str(taken["annotator"])
        return made | named
    if "answer_a" in mapping:
        made = {"answers": [taken["answer_a"], taken.get("answer_b")]}
        if "verdict" in mapping:
            vote = {"choice": _choice(taken["verdict"], mapping.get(FIRST_NUMBER))}
            if taken.get("annotator") is not None:
                vote["annotator"] = str(taken["annotator"])
            made["votes"] = [vote]
        return made | named
    made = {"responses": taken["responses"]}
    if taken.get("scores") is not None:
        made["scores"] = taken["scores"]
    return made


def _with_system(prompt: Any, system: Any) -> Any:
    if not isinstance(system, str) or not system.strip():
        return prompt
    prompt = text_of(prompt)
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return [{"role": "system", "content": system}, *turns] if isinstance(turns, list) else prompt


def _choice(value: Any, first_number: str | None) -> str:
    """a, b, tie or both_bad, from what other files write for them.

    Of a number nobody can tell whether it counts from 0 or from 1, and the wrong guess turns every
    verdict round: somebody has to say.
    """
    if value is None:
        raise RowRefused("the row has no verdict; leave it out, or import it without a verdict")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    plain = str(value).strip().lower()
    if plain.isdigit():
        if first_number is None:
            raise RowRefused("the verdict is a number; say which number is the first answer", plain)
        if int(plain) - int(first_number) in (0, 1):
            return "ab"[int(plain) - int(first_number)]
    for names, choice in ((A_WINS, "a"), (B_WINS, "b"), (TIES, "tie"), (BOTH_BAD, "both_bad")):
        if plain in names:
            return choice
    raise RowRefused("the verdict is none that is known (a, b, left, tie, model_b, …)", repr(value))


def _plain(column: str) -> str:
    return re.sub(r"[\s\-.]+", "_", column.strip().lower())
