"""Encode what is not encoded yet: answers in, records in the feature store out.

Answers of one prompt go through the backbone together (rm_core.transformer), nothing is padded,
the forward stops at the deepest wanted layer and several layers are kept from one pass. Every
forward's records are committed at once, so a stop at any moment loses one forward at most and the
next call goes on from there.

    report = encode_missing(store, info, answers, layers=[15, 18], limits=Limits())
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from rm_core.backbone import BackboneInfo
from rm_core.conversation import Answer, ConversationEncoder, EncodedAnswer, Limits
from rm_core.errors import AnswerError
from rm_core.features import FeatureStore, Lengths, Record, limited_key
from rm_core.transformer import Backbone, Tree, load

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

# Tokens a forward. On a CPU more than this leaves its caches, and a stop waits for a forward; an
# H100 was fastest at this (docs/decisions/0017-encoding.md).
_TOKEN_BUDGET = {"cpu": 1024, "cuda": 16_384}


@dataclass(frozen=True)
class EncodeProgress:
    """Where an encoding stands: answers, tokens a second, seconds left (None at the start)."""

    done: int
    total: int
    tokens_per_s: float
    eta_s: float | None


@dataclass
class EncodeReport:
    """What `encode_missing` did; nothing is left out without being counted here.

    Attributes:
        num_encoded, num_cached: distinct answers.
        num_refused_before: of those refused, how many a former call had refused already.
        refused: (position in the given answers, reason) for those that cannot be encoded.
        num_truncated_prompts: answers whose prompt lost turns to the limit.
        num_cut_responses: answers cut by `over_long = "cut"`.
        num_control_tokens: control tokens spelled in the encoded texts.
        num_tokens: tokens that went through the backbone.
        stopped: the caller asked to stop before all was done.
    """

    num_encoded: int = 0
    num_cached: int = 0
    num_refused_before: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)
    num_truncated_prompts: int = 0
    num_cut_responses: int = 0
    num_control_tokens: int = 0
    num_tokens: int = 0
    device: str | None = None
    dtype: str = "float32"
    attention: str | None = None
    elapsed_s: float = 0.0
    stopped: bool = False


@dataclass(frozen=True)
class Pending:
    """What is left to encode of some answers.

    Attributes:
        todo: address -> position in the given answers, each distinct answer once, in their order.
        refused: (position, reason) of those that a former call could not encode.
        num_cached: distinct answers that are encoded.
    """

    todo: dict[str, int]
    refused: list[tuple[int, str]]
    num_cached: int


def pending(
    store: FeatureStore,
    info: BackboneInfo,
    answers: Sequence[Answer],
    *,
    layers: Sequence[int],
    limits: Limits,
    dtype: str = "float32",
    tokens: bool = False,
) -> Pending:
    """Look up what `encode_missing` would have to do; needs neither tokenizer nor torch."""
    addresses = store.addresses(info, dtype, answers)
    keys = store.limited(addresses, limits, info.max_context)
    todo: dict[str, int] = {}
    for index in store.missing(keys, layers, tokens):
        todo.setdefault(addresses[index], index)
    num_cached = len(set(addresses)) - len(todo)
    known = store.refusals(list(todo), limits)
    refused = sorted((todo.pop(address), reason) for address, reason in known.items())
    return Pending(todo, refused, num_cached)


@dataclass
class Group:
    """Answers that share a prompt, tokenized, with their addresses: what becomes one tree."""

    keys: list[str]
    answers: list[EncodedAnswer]

    def tree(self) -> Tree:
        """Share the ids that all answers have in common before their first response token."""
        shared = min(a.response_start for a in self.answers)
        first = self.answers[0].input_ids
        for other in self.answers[1:]:
            same = 0
            while same < shared and other.input_ids[same] == first[same]:
                same += 1
            shared = same
        return Tree(first[:shared], [a.input_ids[shared:] for a in self.answers])


def encode_missing(
    store: FeatureStore,
    info: BackboneInfo,
    answers: Sequence[Answer],
    *,
    layers: Sequence[int],
    limits: Limits,
    device: str = "auto",
    dtype: str = "float32",
    tokens: bool = False,
    on_progress: Callable[[EncodeProgress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    backbone: Backbone | None = None,
) -> EncodeReport:
    """Encode those of `answers` that the store lacks, in their order.

    Args:
        layers: the layers to keep; the forward stops at the deepest.
        tokens: keep whole token states too (for the per-token objective).
        should_stop: asked before every forward; True ends the call with `stopped` set.
        backbone: one of `info` that is loaded already, deep enough, on its own device and dtype.

    Raises:
        BackboneError: the backbone cannot be loaded (only tried where something is missing).
    """
    begin = time.perf_counter()
    report = EncodeReport(dtype=dtype)
    left = pending(store, info, answers, layers=layers, limits=limits, dtype=dtype, tokens=tokens)
    todo = left.todo
    report.num_cached, report.refused = left.num_cached, list(left.refused)
    report.num_refused_before = len(left.refused)
    if not todo:
        return report
    if backbone is None:
        backbone = load(info, device=device, dtype=dtype, num_layers=max(layers))
    if not backbone.reads(layers):
        again = partial(encode_missing, store, info, answers, limits=limits, device=device)
        again = partial(again, dtype=dtype, tokens=tokens, should_stop=should_stop)
        return _layer_by_layer(again, sorted(set(layers)), on_progress, report)
    report.device, report.attention = backbone.device, backbone.attention
    tokens_before = backbone.num_encoded
    progress = _Progress(answers, todo, on_progress)
    groups = _groups(store, backbone, limits, answers, todo, report, progress)
    for pack in packs_of(groups, backbone):
        if should_stop is not None and should_stop():
            report.stopped = True
            break
        trees = [group.tree() for group in pack]
        states = backbone.states(trees, layers)
        lengths = _lengths(pack)
        store.put(_records(pack, states, tokens, lengths, limits, info.max_context), lengths)
        report.num_encoded += sum(len(group.keys) for group in pack)
        report.num_tokens = backbone.num_encoded - tokens_before
        progress.advance([key for group in pack for key in group.keys], report.num_tokens)
    report.elapsed_s = time.perf_counter() - begin
    return report


def _layer_by_layer(
    encode: Callable[..., EncodeReport],
    layers: Sequence[int],
    on_progress: Callable[[EncodeProgress], None] | None,
    report: EncodeReport,
) -> EncodeReport:
    """One pass a layer, each with the backbone cut there: its last layer can always be read.

    Args:
        report: of what was there before the first pass.
    """
    log.info("layers %s, one pass each", list(layers))
    passes: list[EncodeReport] = []
    for number, layer in enumerate(layers):

        def progress(state: EncodeProgress, number: int = number) -> None:
            assert on_progress is not None
            done = (number * state.total + state.done) // len(layers)
            is_last = number == len(layers) - 1
            on_progress(replace(state, done=done, eta_s=state.eta_s if is_last else None))

        passes.append(encode(layers=[layer], on_progress=progress if on_progress else None))
        if passes[-1].stopped:
            break
    first = passes[0]
    return replace(
        first,
        num_encoded=min(each.num_encoded for each in passes),
        num_cached=report.num_cached,
        num_refused_before=report.num_refused_before,
        num_tokens=sum(each.num_tokens for each in passes),
        elapsed_s=sum(each.elapsed_s for each in passes),
        stopped=passes[-1].stopped,
    )


def packs_of(groups: Iterable[Group], backbone: Backbone) -> Iterator[list[Group]]:
    """Groups in their order, as many at a time as one forward takes."""
    budget = _budget(backbone)
    pack: list[Group] = []
    size = 0
    for group in groups:
        num_tokens = max(group.tree().num_tokens - backbone.num_shared, 1)
        if pack and size + num_tokens > budget:
            yield pack
            pack, size = [], 0
        pack.append(group)
        size += num_tokens
    if pack:
        yield pack


def _budget(backbone: Backbone) -> int:
    return _TOKEN_BUDGET["cuda" if backbone.device.startswith("cuda") else "cpu"]


def _groups(
    store: FeatureStore,
    backbone: Backbone,
    limits: Limits,
    answers: Sequence[Answer],
    todo: dict[str, int],
    report: EncodeReport,
    progress: _Progress,
) -> Iterator[Group]:
    """Groups of answers to one prompt, tokenized just before they are needed."""
    encoder = ConversationEncoder(backbone.tokenizer, backbone.info, limits)
    by_prompt: dict[str, list[tuple[str, int]]] = {}
    for key, index in todo.items():
        by_prompt.setdefault(json.dumps(answers[index].prompt), []).append((key, index))
    budget = _budget(backbone)
    for members in by_prompt.values():
        yield from _tokenized(store, encoder, members, answers, budget, report, progress)


def _tokenized(
    store: FeatureStore,
    encoder: ConversationEncoder,
    members: list[tuple[str, int]],
    answers: Sequence[Answer],
    budget: int,
    report: EncodeReport,
    progress: _Progress,
) -> list[Group]:
    """The answers of one prompt as groups within the budget; those refused are noted for good."""
    groups: list[Group] = []
    size = 0
    prompt = None
    for key, index in members:
        try:
            prompt = prompt or encoder.prompt(answers[index].prompt)
            encoded = encoder.answer(prompt, answers[index].response)
        except AnswerError as error:
            report.refused.append((index, str(error)))
            store.refuse(key, encoder.limits, str(error))
            progress.advance([key], report.num_tokens)
            continue
        report.num_truncated_prompts += encoded.num_dropped_turns > 0
        report.num_cut_responses += encoded.num_cut_tokens > 0
        report.num_control_tokens += encoded.num_control_tokens
        own = encoded.num_response_tokens
        if not groups or size + own > budget:
            groups.append(Group([], []))
            size = encoded.response_start
        groups[-1].keys.append(key)
        groups[-1].answers.append(encoded)
        size += own
    return groups


def _lengths(pack: list[Group]) -> dict[str, Lengths]:
    """How long each answer is before any limit."""
    return {
        key: Lengths(
            answer.num_given_prompt_tokens, answer.num_response_tokens + answer.num_cut_tokens
        )
        for group in pack
        for key, answer in zip(group.keys, group.answers, strict=True)
    }


def _records(
    pack: list[Group],
    states: list[list[dict[int, torch.Tensor]]],
    tokens: bool,
    lengths: dict[str, Lengths],
    limits: Limits,
    max_context: int,
) -> Iterator[Record]:
    """Summaries (and whole states) of every answer of a forward."""
    import numpy as np

    for group, branches in zip(pack, states, strict=True):
        for address, answer, by_layer in zip(group.keys, group.answers, branches, strict=True):
            is_whole = lengths[address].fit(limits, max_context)
            key = address if is_whole else limited_key(address, limits)
            count = answer.num_response_tokens
            ids = np.array(answer.input_ids[answer.response_start :], dtype=np.int32)
            for layer, hidden in by_layer.items():
                response = hidden[len(hidden) - count :].numpy()  # [T, H]
                mean = response.mean(axis=0, dtype=np.float64).astype(np.float32)
                summary = np.stack([mean, response[-1]])
                yield Record(key, layer, count, summary, response if tokens else None, ids)


class _Progress:
    """Counts answers and estimates the time left from the characters that remain."""

    def __init__(
        self,
        answers: Sequence[Answer],
        todo: dict[str, int],
        on_progress: Callable[[EncodeProgress], None] | None,
    ) -> None:
        self._weights = {
            key: len(answers[i].response) + sum(len(m["content"]) for m in answers[i].prompt)
            for key, i in todo.items()
        }
        self._total_weight = sum(self._weights.values())
        self._weight = 0
        self._done = 0
        self._report = on_progress
        self._begin = time.perf_counter()
        self.advance([], 0)

    def advance(self, keys: list[str], num_tokens: int) -> None:
        """Count answers as finished, encoded or refused."""
        self._done += len(keys)
        self._weight += sum(self._weights[key] for key in keys)
        if self._report is None:
            return
        elapsed = time.perf_counter() - self._begin
        left = self._total_weight - self._weight
        eta = elapsed * left / self._weight if self._weight else None
        rate = num_tokens / elapsed if elapsed else 0.0
        self._report(EncodeProgress(self._done, len(self._weights), rate, eta))
