"""From a conversation to token ids, masks and character offsets: the one place that does it.

The ids equal those of tokenizing the whole rendered text, as any consumer of an exported model
would get them. The response begins with the first token that reaches past the start of the
answer's text: a token that straddles the boundary belongs to the response, its text clipped to it.
The last id is the end of turn, which is the score position.

    encoder = ConversationEncoder(tokenizer, info, Limits())
    prompt = encoder.prompt([{"role": "user", "content": "Hi"}])
    encoded = encoder.answer(prompt, "Hello!")
    encoded.input_ids, encoded.attention_mask, encoded.response_mask, encoded.offsets
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from rm_core.backbone import BackboneInfo
from rm_core.errors import AnswerError
from rm_core.templates import render

Message = dict[str, str]

_PROBE = "qxzprobe"


class Answer(NamedTuple):
    """One candidate answer with the prompt it answers."""

    prompt: list[Message]
    response: str


@dataclass(frozen=True)
class Limits:
    """Separate limits for prompt and response, so that every answer sees the same prompt.

    Attributes:
        max_prompt_tokens: a longer prompt loses whole turns from the left, never the system
            message; a last turn that is longer by itself is refused.
        max_response_tokens: a longer response, end tokens counted, is refused or cut.
        over_long: "refuse", or "cut": the response keeps its first tokens and its end tokens.
    """

    max_prompt_tokens: int = 2048
    max_response_tokens: int = 4096
    over_long: Literal["refuse", "cut"] = "refuse"


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt as rendered: what stands before and after the answer's text."""

    messages: list[Message]
    head: str
    tail: str
    num_dropped_turns: int
    num_control_tokens: int
    num_given_tokens: int = 0  # before any turn was dropped


@dataclass(frozen=True)
class EncodedAnswer:
    """Token ids of one conversation, N in all, of which T belong to the response.

    Attributes:
        input_ids: [N] ids of the whole rendered text.
        response_start: index of the response's first token; N - response_start is T.
        offsets: [T] character ranges in `text`; an end token has (len(text), len(text)).
        text: the response as given.
        kept: the character range of `text` that was tokenized; the rest the template dropped or a
            limit cut.
        num_end_tokens: how many of the last ids stand behind the answer's text.
        num_dropped_turns: turns that the prompt limit removed.
        num_cut_tokens: response tokens that the response limit removed.
        num_control_tokens: control tokens spelled in the prompt's or the answer's text.
        num_given_prompt_tokens: of the prompt before any turn was dropped.
    """

    input_ids: list[int]
    response_start: int
    offsets: list[tuple[int, int]]
    text: str
    kept: tuple[int, int]
    num_end_tokens: int
    num_dropped_turns: int = 0
    num_cut_tokens: int = 0
    num_control_tokens: int = 0
    num_given_prompt_tokens: int = 0

    @property
    def num_response_tokens(self) -> int:
        """T, the end tokens counted."""
        return len(self.input_ids) - self.response_start

    @property
    def attention_mask(self) -> list[int]:
        """[N] ones: nothing is padded."""
        return [1] * len(self.input_ids)

    @property
    def response_mask(self) -> list[int]:
        """[N] zeros for the prompt, ones for the response and its end tokens."""
        return [0] * self.response_start + [1] * self.num_response_tokens


def as_messages(prompt: str | list[Message]) -> list[Message]:
    """A prompt in its list form; plain text is one user turn."""
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    return [{"role": m["role"], "content": m["content"]} for m in prompt]


@dataclass
class ConversationEncoder:
    """Renders and tokenizes with one tokenizer, scoring template and set of limits."""

    tokenizer: Any
    info: BackboneInfo
    limits: Limits = field(default_factory=Limits)

    def prompt(self, messages: str | list[Message]) -> EncodedPrompt:
        """Render a prompt, dropping whole turns from the left where it is over the limit.

        Raises:
            AnswerError: no message, a last turn over the limit, or a template that refuses it.
        """
        kept = as_messages(messages)
        if not kept:
            raise AnswerError("The prompt has no message; give at least one user turn.")
        given, given_tokens = len(kept), 0
        limit = min(self.limits.max_prompt_tokens, self.info.max_context)
        while True:
            head, tail = self._frame(kept)
            num_tokens = len(self._tokenize(head)["input_ids"])
            given_tokens = given_tokens or num_tokens
            if num_tokens <= limit:
                break
            shorter = _without_oldest_turn(kept)
            if shorter is None:
                raise AnswerError(
                    f"The prompt's last turn alone has {num_tokens} tokens and "
                    f"{self._limit_of('max_prompt_tokens')}."
                )
            kept = shorter
        spelled = sum(self._count_control(m["content"]) for m in kept)
        return EncodedPrompt(kept, head, tail, given - len(kept), spelled, given_tokens)

    def answer(self, prompt: EncodedPrompt, response: str) -> EncodedAnswer:
        """Ids, masks and offsets of one response to a rendered prompt.

        Raises:
            AnswerError: the response is over its limit (and `over_long` is "refuse"), the whole is
                longer than the backbone's context, or the template rewrites the answer's text.
        """
        full = self._render([*prompt.messages, {"role": "assistant", "content": response}])
        body_start, body = _locate(full, prompt, response)
        tokens = self._tokenize(full)
        ids, spans = tokens["input_ids"], tokens["offset_mapping"]
        head_len, body_end = len(prompt.head), len(prompt.head) + len(body)
        start = next(i for i, (_, end) in enumerate(spans) if end > head_len)
        num_end = sum(1 for a, _ in spans[start:] if a >= body_end)
        shift = body_start - head_len
        offsets = [
            (max(a, head_len) + shift, min(b, body_end) + shift)
            for a, b in spans[start : len(spans) - num_end]
        ]
        ids, offsets, num_cut = self._within_limit(list(ids), offsets, start, num_end)
        kept_end = offsets[-1][1] if num_cut and offsets else body_start + len(body)
        if len(ids) > self.info.max_context:
            raise AnswerError(
                f"Prompt and response have {len(ids)} tokens together and the context of "
                f"{self.info.name} is {self.info.max_context}; shorten one of them."
            )
        end = len(response)
        return EncodedAnswer(
            input_ids=ids,
            response_start=start,
            offsets=offsets + [(end, end)] * num_end,
            text=response,
            kept=(body_start, kept_end),
            num_end_tokens=num_end,
            num_dropped_turns=prompt.num_dropped_turns,
            num_cut_tokens=num_cut,
            num_control_tokens=prompt.num_control_tokens + self._count_control(response),
            num_given_prompt_tokens=prompt.num_given_tokens,
        )

    def _within_limit(
        self, ids: list[int], offsets: list[tuple[int, int]], start: int, num_end: int
    ) -> tuple[list[int], list[tuple[int, int]], int]:
        """Refuse or cut a response over the limit; the end tokens always stay."""
        limit = self.limits.max_response_tokens
        num_tokens = len(ids) - start
        if num_tokens <= limit:
            return ids, offsets, 0
        if self.limits.over_long == "refuse":
            raise AnswerError(
                f"The response has {num_tokens} tokens and {self._limit_of('max_response_tokens')}."
            )
        keep = max(limit - num_end, 0)
        cut = ids[: start + keep] + ids[len(ids) - num_end :]
        return cut, offsets[:keep], num_tokens - limit

    def _limit_of(self, setting: Literal["max_prompt_tokens", "max_response_tokens"]) -> str:
        """The limit that was met and what can be done: nobody can raise a backbone's context."""
        limit, context = getattr(self.limits, setting), self.info.max_context
        if limit >= context:
            return f"the context of {self.info.name} is {context}; shorten it"
        cutting = ', or set over_long = "cut"' if setting == "max_response_tokens" else ""
        return f"the limit is {limit}; shorten it or raise {setting}{cutting}"

    def _frame(self, messages: list[Message]) -> tuple[str, str]:
        """What the template writes before and after the answer's text."""
        rendered = self._render([*messages, {"role": "assistant", "content": _PROBE}])
        head, _, tail = rendered.rpartition(_PROBE)
        return head, tail

    def _render(self, messages: list[Message]) -> str:
        from jinja2.exceptions import TemplateError

        try:
            return render(self.tokenizer, self.info.scoring_template, messages)
        except TemplateError as error:
            roles = [m["role"] for m in messages[:-1]]
            raise AnswerError(
                f"The chat template of {self.info.name} refuses a prompt with the roles {roles}: "
                f"{error}; reorder or rename the turns."
            ) from error

    def _tokenize(self, text: str) -> Any:
        return self.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )

    def _count_control(self, text: str) -> int:
        return sum(text.count(token) for token in self.info.control_tokens)


def _without_oldest_turn(messages: list[Message]) -> list[Message] | None:
    """The prompt without its oldest turn, the system message kept; None where one turn is left.

    What remains begins with a user turn where there is one: many templates refuse another start.
    """
    system = [m for m in messages[:1] if m["role"] == "system"]
    turns = messages[len(system) + 1 :]
    while len(turns) > 1 and turns[0]["role"] != "user":
        turns = turns[1:]
    return [*system, *turns] if turns else None


def _locate(full: str, prompt: EncodedPrompt, response: str) -> tuple[int, str]:
    """Where in `response` the text begins that the template kept, and that text.

    A template may strip an answer's ends or its reasoning part; it may not rewrite it.
    """
    head, tail = prompt.head, prompt.tail
    framed = full.startswith(head) and full.endswith(tail) and len(full) >= len(head) + len(tail)
    body = full[len(head) : len(full) - len(tail)] if framed else ""
    if not framed or body not in response:
        raise AnswerError(
            f"The chat template rewrites this answer's text: it begins {response[:60]!r} and is "
            f"rendered as {full[len(head) :][:60]!r}; its tokens could not be matched to its text."
        )
    if not body:
        return len(response), ""
    return response.rfind(body), body
