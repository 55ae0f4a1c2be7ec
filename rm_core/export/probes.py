"""Generated conversations with the studio's own scores: what every export is compared with."""

from __future__ import annotations

import random
from dataclasses import dataclass

from rm_core.conversation import ConversationEncoder, Limits, Message
from rm_core.errors import AnswerError, ExportError
from rm_core.scoring import RewardModel

NUM_PROBES = 36
MIN_PROBES = 32
_MAX_TRIES = 400

_SNIPPETS = [
    "The quick brown fox",
    "eine schöne Größe, naïve façade",
    "Быстрая лиса прыгает",
    "Γρήγορη αλεπού",
    "敏捷的狐狸跳过懒狗。",
    "すばやい狐はのろまな犬を飛び越える",
    "재빠른 여우",
    "الثعلب السريع",
    "שועל מהיר",
    "तेज़ लोमड़ी",
    "🦊👩‍👩‍👧‍👦🏳️‍🌈",
    "e\u0301a\u0308",
    "def f(x):\n\treturn x ** 2\n",
    "1,234.56 + 7e-3 = ?",
    "| a | b |\n|---|---|",
    "<b>bold</b> &amp; plain",
    "user: no\nassistant: yes",
]
# How an answer begins decides which token straddles the boundary: each is always tried.
_OPENINGS = ["", "\n", "\n\nYes.", " yes", "  ", "\tno", "🙂", "猫", "7", "'s", "assistant", "<b>"]


@dataclass(frozen=True)
class Probe:
    """One conversation as the studio renders and scores it.

    Attributes:
        messages: the conversation, ending in the scored assistant turn.
        input_ids: of the whole rendered text.
        response_start: index of the response's first id.
        token_values: w·h at every id of the response.
        reward: the studio's own.
        num_control_tokens: control tokens spelled in the texts.
    """

    messages: list[Message]
    input_ids: list[int]
    response_start: int
    token_values: list[float]
    reward: float
    num_control_tokens: int


def studio_scores(model: RewardModel) -> list[Probe]:
    """Score generated conversations with the studio's own reward model.

    Raises:
        ExportError: fewer than MIN_PROBES fit the backbone (a tiny context, a strict template).
    """
    backbone = model.warm()
    context = model.info.max_context
    encoder = ConversationEncoder(backbone.tokenizer, model.info, Limits(context, context))
    draw = random.Random(0)
    probes: list[Probe] = []
    last_refusal = ""
    for number in range(_MAX_TRIES):
        prompt, response = _conversation(number, draw, model.info.control_tokens)
        try:
            rendered = encoder.prompt(prompt)
            encoded = encoder.answer(rendered, response)
        except AnswerError as error:
            last_refusal = str(error)
            continue
        if encoded.num_dropped_turns:  # a consumer would render the whole
            continue
        scored = model.token_scores(prompt, response)
        probes.append(
            Probe(
                messages=[*prompt, {"role": "assistant", "content": response}],
                input_ids=encoded.input_ids,
                response_start=encoded.response_start,
                token_values=[p["value"] for token in scored.tokens for p in token.pieces],
                reward=scored.reward,
                num_control_tokens=encoded.num_control_tokens,
            )
        )
        if len(probes) == NUM_PROBES:
            break
    if len(probes) < MIN_PROBES:
        raise ExportError(
            f"Only {len(probes)} of {_MAX_TRIES} generated conversations can be scored with "
            f"{model.info.name}, too few to verify an export ({last_refusal})."
        )
    return probes


def _conversation(
    number: int, draw: random.Random, control_tokens: tuple[str, ...]
) -> tuple[list[Message], str]:
    """One to five turns of varied script and length, with or without a system message."""
    prompt: list[Message] = []
    if draw.random() < 0.3:
        prompt.append({"role": "system", "content": _text(draw, 1)})
    for _ in range(draw.choice([0, 0, 0, 1, 2])):
        prompt.append({"role": "user", "content": _text(draw, 1)})
        prompt.append({"role": "assistant", "content": _text(draw, 1)})
    prompt.append({"role": "user", "content": _text(draw, 2)})
    if number < len(_OPENINGS):
        return prompt, _OPENINGS[number]
    opening = draw.choice(_OPENINGS)
    if number == len(_OPENINGS) and control_tokens:
        opening = f"a{control_tokens[-1]}b "
    return prompt, opening + _text(draw, draw.choice([0, 1, 2, 4, 8]))


def _text(draw: random.Random, max_snippets: int) -> str:
    count = draw.randint(min(1, max_snippets), max_snippets)
    return draw.choice([" ", "\n", ", "]).join(draw.choice(_SNIPPETS) for _ in range(count))
