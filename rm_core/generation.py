"""Answers by the backbone itself, piece by piece, until it ends or the caller has had enough.

    writer = Writer.load(info, device="auto")           # the whole model, with its lm_head
    for piece in writer.stream([{"role": "user", "content": "Hi"}], Sampling()):
        print(piece, end="")

This is the model as it was published: all its layers, its own chat template with the generation
prompt. The reward model's backbone has neither head nor last layers, so this one is loaded apart,
and freed with the object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rm_core import decoder_checks
from rm_core.backbone import BackboneInfo, _quiet_transformers, choose_device
from rm_core.errors import AnswerError, BackboneError

if TYPE_CHECKING:
    import torch

    from rm_core.conversation import Message


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        temperature: 0 takes the likeliest token each time.
        top_p: only the likeliest tokens that together have this probability take part.
        max_new_tokens: where to stop in any case.
        seed: equal seeds give equal answers on one machine; None draws one.
    """

    temperature: float = 0.7
    top_p: float = 0.95
    max_new_tokens: int = 256
    seed: int | None = None


class Writer:
    """A whole causal language model, loaded to write."""

    def __init__(self, info: BackboneInfo, model: Any, tokenizer: Any, device: str) -> None:
        self.info = info
        self._model = model
        self._tokenizer = tokenizer
        self._device = device

    @classmethod
    def load(cls, info: BackboneInfo, *, device: str = "auto") -> Writer:
        """Load every layer and the language-model head.

        Raises:
            BackboneError: the weights cannot be read.
        """
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer

        _quiet_transformers()
        where = choose_device(device)
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                info.directory,
                dtype="auto",
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
            tokenizer = AutoTokenizer.from_pretrained(info.directory, trust_remote_code=False)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise BackboneError(
                f"The backbone {info.name} cannot be loaded to write: {str(error)[:200]}."
            ) from error
        model, loading = loaded
        if lost := sorted(loading["missing_keys"]):
            raise BackboneError(
                f"The backbone {info.name} cannot write: its files lack {len(lost)} of its "
                f"weights, {lost[0]} first; fetch them again, or name another backbone."
            )
        return cls(info, model.eval().requires_grad_(False).to(where), tokenizer, where)

    def stream(
        self,
        messages: list[Message],
        sampling: Sampling,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[str]:
        """The answer's text in pieces; ends at the end of turn, the limit, or `should_stop`.

        Raises:
            AnswerError: no room for an answer in the context, or a template that refuses the turns.
        """
        import torch

        ids = self._prompt_ids(messages)
        room = self.info.max_context - len(ids)
        if room < 1:
            raise AnswerError(
                f"The prompt has {len(ids)} tokens and the context of {self.info.name} is "
                f"{self.info.max_context}: there is no room for an answer; shorten it."
            )
        draw = torch.Generator(device="cpu")
        if sampling.seed is None:
            draw.seed()
        else:
            draw.manual_seed(sampling.seed)
        written: list[int] = []
        shown = ""
        given: torch.Tensor = torch.tensor([ids], device=self._device)
        past, cache_argument = None, decoder_checks.cache_argument(self._model)
        while len(written) < min(sampling.max_new_tokens, room) and not should_stop():
            with torch.inference_mode():
                out = self._model(
                    input_ids=given, use_cache=True, logits_to_keep=1, **{cache_argument: past}
                )
            past = getattr(out, cache_argument)
            token = _drawn(out.logits[0, -1].float().cpu(), sampling, draw)
            if token in self._ends():
                break
            written.append(token)
            given = torch.tensor([[token]], device=self._device)
            text = self._tokenizer.decode(written, skip_special_tokens=True)
            # Half a character is shown as U+FFFD until its other bytes have come.
            if len(text) > len(shown) and not text.endswith("\ufffd"):
                yield text[len(shown) :]
                shown = text
        text = self._tokenizer.decode(written, skip_special_tokens=True)
        if len(text) > len(shown):
            yield text[len(shown) :]

    def _prompt_ids(self, messages: list[Message]) -> list[int]:
        from jinja2.exceptions import TemplateError

        if not self._tokenizer.chat_template:
            text = "\n".join(m["content"] for m in messages) + "\n"
            return list(self._tokenizer(text)["input_ids"])
        try:
            text = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        except TemplateError as error:
            raise AnswerError(
                f"The chat template of {self.info.name} refuses these turns: {error}."
            ) from error
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _ends(self) -> set[int]:
        ends = self._model.generation_config.eos_token_id
        listed = ends if isinstance(ends, list) else [ends]
        return {end for end in [*listed, self._tokenizer.eos_token_id] if end is not None}


def _drawn(logits: torch.Tensor, sampling: Sampling, draw: torch.Generator) -> int:
    """One token id from logits [V]."""
    import torch

    if sampling.temperature <= 0:
        return int(logits.argmax())
    probabilities = torch.softmax(logits / sampling.temperature, dim=-1)
    ranked, order = probabilities.sort(descending=True)
    # A token stays while those before it have less than top_p: the first always does.
    ranked[ranked.cumsum(0) - ranked >= sampling.top_p] = 0.0
    return int(order[torch.multinomial(ranked, 1, generator=draw)])
