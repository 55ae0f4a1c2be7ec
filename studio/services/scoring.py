"""Scoring answers with a checkpoint: which one, its model in memory, lines of the console.

    model = scoring.load_model(settings, scoring.newest_checkpoint(database, project_id))
    for line in scoring.score_lines(model, sys.stdin): ...

A checkpoint always loads its own backbone. Loaded models are kept in this process, a few at a
time; torch is imported with the first one. The playground is studio/services/playground.py.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from db import checkpoints
from db.models import Checkpoint
from studio.services.backbones import told_plainly
from studio.services.errors import NotFound, StudioError, UsageError
from studio.services.import_texts import ROLES

if TYPE_CHECKING:
    from pathlib import Path

    from db.engine import Database
    from rm_core.live import LiveEncoder
    from rm_core.scoring import RewardModel, ScoredResponse
    from rm_core.uncertainty import Posterior
    from studio.settings import Settings

# A model is some hundred megabytes; two let a person go to and fro between checkpoints.
MAX_LOADED = 2


@dataclass
class LoadedModel:
    """A checkpoint's model in memory.

    Attributes:
        live: what was encoded last, shared by all checkpoints on one backbone and layer; made at
            the first use, since it loads the backbone.
        posterior: how sure its head is; None for a checkpoint that was saved without.
    """

    model: RewardModel
    posterior: Posterior | None
    live: LiveEncoder | None = None


_loaded: OrderedDict[tuple[str, str, str], LoadedModel] = OrderedDict()
# Held while loading and scoring: several forwards at once on the same cores only take turns.
one_at_a_time = threading.Lock()
_loading = threading.Event()  # set while a checkpoint or a backbone is being loaded


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
    if found is None or found.project_id != project_id or found.thinned_at is not None:
        there = ", ".join(map(str, known)) if known else "none yet"
        raise NotFound(
            f"the project has no checkpoint {checkpoint_id}; the ones there are: {there}."
        )
    return found


def any_checkpoint(database: Database, checkpoint_id: int) -> Checkpoint:
    """The checkpoint of this id, whatever its project."""
    with database.read() as s:
        found = checkpoints.get_checkpoint(s, checkpoint_id)
        there_are = select(Checkpoint.id).where(Checkpoint.thinned_at.is_(None))
        known = [str(i) for i in s.scalars(there_are.order_by(Checkpoint.id))]
    if found is None or found.thinned_at is not None:
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


def load(settings: Settings, checkpoint: Checkpoint) -> LoadedModel:
    """The model of a checkpoint, from memory when it is there; hold `one_at_a_time`."""
    from rm_core.uncertainty import Posterior

    key = _key(settings, checkpoint)
    directory = settings.checkpoints_dir / checkpoint.directory
    found = _loaded.get(key)
    if found is None:
        with _told_as_loading(), told_plainly():
            model = load_directory(settings, directory)
            found = LoadedModel(model, Posterior.load(directory))
        _loaded[key] = found
        while len(_loaded) > MAX_LOADED:
            _loaded.popitem(last=False)
    _loaded.move_to_end(key)
    return found


def _key(settings: Settings, checkpoint: Checkpoint) -> tuple[str, str, str]:
    directory = settings.checkpoints_dir / checkpoint.directory
    return str(directory), checkpoint.sha256, settings.device


def load_model(settings: Settings, checkpoint: Checkpoint) -> RewardModel:
    """The reward model of a checkpoint, from memory when it is there."""
    return load(settings, checkpoint).model


def live_encoder(loaded: LoadedModel) -> LiveEncoder:
    """The encoder of a loaded model; models on one backbone and layer share it and its memory."""
    from rm_core.live import LiveEncoder

    if loaded.live is None:
        wanted = _backbone_key(loaded)
        for other in _loaded.values():
            if other.live is not None and _backbone_key(other) == wanted:
                loaded.model.warm(other.live.backbone)
                loaded.live = other.live
                break
        else:
            with _told_as_loading():
                loaded.live = LiveEncoder(loaded.model.warm())
    return loaded.live


@contextmanager
def _told_as_loading() -> Iterator[None]:
    _loading.set()
    try:
        yield
    finally:
        _loading.clear()


def is_loading() -> bool:
    """Whether a score would now wait for a checkpoint or a backbone that is being loaded."""
    return _loading.is_set()


def is_warm(settings: Settings, checkpoint: Checkpoint) -> bool:
    """Whether a score by this checkpoint begins at once: model and backbone are in memory."""
    found = _loaded.get(_key(settings, checkpoint))
    return found is not None and found.live is not None


def _backbone_key(loaded: LoadedModel) -> tuple[Any, ...]:
    model = loaded.model
    dtype = model.manifest["backbone"]["dtype"]
    return model.info.directory, model.info.fingerprint(dtype), dtype, model.head.layer


def warm_up(database: Database, settings: Settings) -> None:
    """Load what the playground will need, so that its next score does not wait for it.

    That is the checkpoint in use in the project that was trained last; nothing when it is there.
    """
    with database.read() as s:
        newest = s.scalar(select(Checkpoint).order_by(Checkpoint.id.desc()).limit(1))
        if newest is None:
            return
        in_use = checkpoints.newest_promoted(s, newest.project_id) or newest
    with one_at_a_time, told_plainly():
        live_encoder(load(settings, in_use))


# --- texts ---------------------------------------------------------------------------------


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


# --- the console -----------------------------------------------------------------------------


@dataclass
class Remarks:
    """How many lines were scored on less, or other, than what stands in them.

    A response is never cut here: one that does not fit is an error of its line.
    """

    num_dropped: int = 0
    num_control: int = 0

    def add(self, scored: ScoredResponse) -> None:
        """Count one line."""
        self.num_dropped += scored.num_dropped_turns > 0
        self.num_control += scored.num_control_tokens > 0

    def sentences(self) -> list[str]:
        """One for each kind that there was."""
        kinds = (
            (self.num_dropped, "without the prompt's oldest turns, which did not fit the context"),
            (self.num_control, "with control tokens of the backbone that their texts spell"),
        )
        return [f"{_lines_were(number)} scored {how}." for number, how in kinds if number]


def _lines_were(number: int) -> str:
    return "1 line was" if number == 1 else f"{number} lines were"


def score_lines(
    model: RewardModel, lines: Iterable[bytes], *, tokens: bool, remarks: Remarks | None = None
) -> Iterator[dict[str, Any]]:
    """One dict for each line, in order: its reward (and tokens), or {"error"} for a bad line.

    An empty line is a bad one, so that lines in and out stay in step; at the end it is none.
    `remarks` counts what the lines themselves do not tell.
    """
    remarks = remarks or Remarks()
    num_empty = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            num_empty += 1
            continue
        for before in range(number - num_empty, number):
            yield {"error": f"line {before}: it is empty."}
        num_empty = 0
        try:
            scored = _score_line(model, line)
            remarks.add(scored)
            yield scored.as_dict(tokens)
        except StudioError as error:
            yield {"error": f"line {number}: {error}"}


def _score_line(model: RewardModel, line: bytes) -> ScoredResponse:
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        seen = _shortened(line.decode(errors="replace").strip())
        raise UsageError(f"not JSON in UTF-8 ({error}): {seen}.") from error
    if not isinstance(record, dict):
        raise UsageError(f"{_kind(record)} instead of an object with prompt and response.")
    if not is_encodable(record):
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
        return model.token_scores(prompt, record["response"])


def is_encodable(value: Any) -> bool:
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
