"""Scoring answers with a checkpoint, for the playground and the console.

    comparison = scoring.compare(database, settings, project_id, messages, [a, b])
    for line in scoring.score_lines(model, sys.stdin): ...

A checkpoint always loads its own backbone. Loaded models are kept in this process, a few at a
time; torch is imported with the first one.
"""

from __future__ import annotations

import json
import random
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from db import checkpoints, content, votes
from db.models import JUDGING, Checkpoint, Vote
from studio.services.backbones import told_plainly
from studio.services.errors import NotFound, StudioError, UsageError
from studio.services.import_rows import ROLES
from studio.services.training import describe_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from db.engine import Database
    from rm_core.scoring import RewardModel, ScoredResponse
    from studio.settings import Settings

Comparison = dict[str, Any]

# A model is some hundred megabytes; two let a person go to and fro between checkpoints.
MAX_LOADED = 2
_loaded: OrderedDict[tuple[str, str, str], RewardModel] = OrderedDict()
# Held while loading and scoring: several forwards at once on the same cores only take turns.
_one_at_a_time = threading.Lock()


# --- which checkpoint ------------------------------------------------------------------------


def newest_checkpoint(database: Database, project_id: int) -> Checkpoint:
    """The checkpoint that the project uses; StudioError when it has none yet."""
    with database.read() as s:
        found = checkpoints.newest_promoted(s, project_id)
    if found is None:
        raise StudioError(
            "This project has no checkpoint yet: train it first, on the Train tab or with "
            "`reward-studio train`."
        )
    return found


def why_not_scorable(database: Database, project_id: int) -> str:
    """A sentence for the playground when the project has no checkpoint yet; else nothing."""
    with database.read() as s:
        if checkpoints.newest_promoted(s, project_id) is not None:
            return ""
    return (
        "This project has no checkpoint yet, so nothing can be scored: train one on the Train tab."
    )


def find_checkpoint(database: Database, project_id: int, checkpoint_id: int | None) -> Checkpoint:
    """The named checkpoint, or the newest promoted one."""
    if checkpoint_id is None:
        return newest_checkpoint(database, project_id)
    with database.read() as s:
        found = checkpoints.get_checkpoint(s, checkpoint_id)
        known = [c.id for c in checkpoints.list_checkpoints(s, project_id)]
    if found is None or found.project_id != project_id:
        there = ", ".join(map(str, known)) if known else "none yet"
        raise NotFound(
            f"the project has no checkpoint {checkpoint_id}; the ones there are: {there}."
        )
    return found


def any_checkpoint(database: Database, checkpoint_id: int) -> Checkpoint:
    """The checkpoint of this id, whatever its project."""
    with database.read() as s:
        found = checkpoints.get_checkpoint(s, checkpoint_id)
        known = [str(i) for i in s.scalars(select(Checkpoint.id).order_by(Checkpoint.id))]
    if found is None:
        there = ", ".join(known) if known else "none yet"
        raise NotFound(f"there is no checkpoint {checkpoint_id}; the ones there are: {there}.")
    return found


def load_directory(settings: Settings, directory: Path) -> RewardModel:
    """The reward model of a checkpoint's directory."""
    from rm_core.scoring import RewardModel

    with told_plainly():
        return RewardModel.from_checkpoint(
            directory, backbones_dir=settings.backbones_dir, device=settings.device
        )


def load_model(settings: Settings, checkpoint: Checkpoint) -> RewardModel:
    """The reward model of a checkpoint, from memory when it is there."""
    directory = settings.checkpoints_dir / checkpoint.directory
    key = (str(directory), checkpoint.sha256, settings.device)
    model = _loaded.get(key)
    if model is None:
        model = load_directory(settings, directory)
        _loaded[key] = model
        while len(_loaded) > MAX_LOADED:
            _loaded.popitem(last=False)
    _loaded.move_to_end(key)
    return model


# --- the playground --------------------------------------------------------------------------


def compare(
    database: Database,
    settings: Settings,
    project_id: int,
    prompt_messages: str | list[dict[str, str]],
    responses: Sequence[str],
    checkpoint_id: int | None = None,
) -> Comparison:
    """Rewards and token contributions of answers to one prompt, JSON-ready."""
    checkpoint = find_checkpoint(database, project_id, checkpoint_id)
    prompt = check_prompt(prompt_messages)
    if not responses or not _is_encodable([prompt, *responses]):
        raise UsageError("give at least one answer, and no lone surrogates in the texts.")
    with _one_at_a_time, told_plainly():
        model = load_model(settings, checkpoint)
        scored = model.token_scores_many(prompt, list(responses))
        rewards = [each.reward for each in scored]
        prob = model.prob_better(*rewards) if len(rewards) == 2 else None
        return {
            "checkpoint": describe_checkpoint(checkpoint),
            "backbone": model.info.name,
            "device": model.device,
            "readout": model.manifest.get("readout"),
            "prob_a_better": prob,
            "answers": [_describe_answer(each) for each in scored],
        }


def _describe_answer(scored: ScoredResponse) -> dict[str, Any]:
    warnings = []
    if scored.num_dropped_turns:
        turns = "turn was" if scored.num_dropped_turns == 1 else "turns were"
        warnings.append(
            "The prompt does not fit the backbone's context: its first "
            f"{scored.num_dropped_turns} {turns} left out."
        )
    if scored.num_control_tokens:
        warnings.append(
            f"The text spells {scored.num_control_tokens} of the backbone's control tokens (such "
            "as an end of turn), and the backbone reads them as such."
        )
    return {
        **scored.as_dict(),
        "prompt_value": scored.prompt_value,
        "end_term": scored.end_term,
        "warnings": warnings,
    }


def check_prompt(prompt: Any) -> str | list[dict[str, str]]:
    """A prompt is text or a list of messages; UsageError says what else it was."""
    if isinstance(prompt, str):
        return prompt
    if not isinstance(prompt, list) or not prompt:
        raise UsageError(
            f"prompt is {_kind(prompt)}: give text or a list of messages with role and content."
        )
    for number, message in enumerate(prompt, start=1):
        is_message = isinstance(message, dict) and all(
            isinstance(message.get(field), str) for field in ("role", "content")
        )
        if not is_message:
            raise UsageError(
                f"message {number} of the prompt is {_shortened(message)}: it needs a role and a "
                "content, both text."
            )
        if message["role"] not in ROLES:  # as at import: a mistyped role would score quietly
            raise UsageError(
                f"message {number} of the prompt has the unknown role {_shortened(message['role'])}"
                f": use one of {', '.join(ROLES)}."
            )
    return [{"role": m["role"], "content": m["content"]} for m in prompt]


def warm_up(database: Database, settings: Settings) -> None:
    """Load what the playground will need, so that its first score does not wait for it."""
    with database.read() as s:
        newest = s.scalar(select(Checkpoint).order_by(Checkpoint.id.desc()).limit(1))
    if newest is not None:
        with _one_at_a_time:
            load_model(settings, newest).warm()


def project_pair(database: Database, project_id: int, pair_id: int | str) -> dict[str, Any]:
    """A pair of the project to look at, by id or `random`, with what people said of it."""
    with database.read() as s:
        wanted = (
            content.random_pair_id(s, project_id, random.random())
            if pair_id == "random"
            else int(pair_id)
        )
        pair = content.get_pair(s, project_id, wanted) if wanted is not None else None
        if pair is None:
            what = "no pairs" if pair_id == "random" else f"no pair {pair_id}"
            raise NotFound(f"the project has {what}: import some, or take a random one.")
        choices = Counter(
            s.scalars(
                select(Vote.choice).where(Vote.pair_id == pair.pair_id, Vote.retracted_at.is_(None))
            )
        )
    return {
        "pair_id": pair.pair_id,
        "messages": pair.messages,
        "response_a": pair.response_a,
        "response_b": pair.response_b,
        "split": pair.split,
        "verdict": {
            "target": votes.target_of(choices),
            "num_votes": sum(choices[choice] for choice in JUDGING),
        },
    }


# --- the console -----------------------------------------------------------------------------


def score_lines(
    model: RewardModel, lines: Iterable[bytes], *, tokens: bool
) -> Iterator[dict[str, Any]]:
    """One dict for each line, in order: its reward (and tokens), or {"error"} for a bad line.

    An empty line is a bad one, so that lines in and out stay in step; at the end it is none.
    """
    num_empty = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            num_empty += 1
            continue
        for before in range(number - num_empty, number):
            yield {"error": f"line {before}: it is empty."}
        num_empty = 0
        try:
            yield _score_line(model, line, tokens)
        except StudioError as error:
            yield {"error": f"line {number}: {error}"}


def _score_line(model: RewardModel, line: bytes, tokens: bool) -> dict[str, Any]:
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        seen = _shortened(line.decode(errors="replace").strip())
        raise UsageError(f"not JSON in UTF-8 ({error}): {seen}.") from error
    if not isinstance(record, dict):
        raise UsageError(f"{_kind(record)} instead of an object with prompt and response.")
    if not _is_encodable(record):
        raise UsageError(
            "a text holds a lone surrogate, which is no character, or the line nests too deeply: "
            "leave it out."
        )
    for field in ("prompt", "response"):
        if field not in record:
            raise UsageError(f"{field} is missing: give an object with prompt and response.")
    if not isinstance(record["response"], str):
        raise UsageError(f"response is {_kind(record['response'])}: give text.")
    prompt = check_prompt(record["prompt"])
    with told_plainly():
        scored = model.token_scores(prompt, record["response"])
    return scored.as_dict() if tokens else {"reward": scored.reward}


def _is_encodable(value: Any) -> bool:
    """JSON can spell half a surrogate pair, which no tokenizer and no output takes."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return True


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a truth value"}
    if value is None:
        return "null"
    return "an empty list" if value == [] else names.get(type(value), "a number")


def _shortened(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return repr(text if len(text) <= 60 else text[:60] + "…")
