"""The tokenizer of an export: the scoring template, a padding token of its own, nothing added.

Hugging Face pools the last id that is not the padding token, whatever the mask says. Where padding
and end of turn are one token (SmolLM2, most Qwen models) the score would be read before the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rm_core.backbone import BackboneInfo
from rm_core.conversation import ConversationEncoder
from rm_core.errors import AnswerError

if TYPE_CHECKING:
    from pathlib import Path

NEW_PAD = "<|pad|>"
# Tried in this order, where the tokenizer has them as control tokens that no template writes.
_PAD_NAMES = ("<|pad|>", "<pad>", "[PAD]", "<|finetune_right_pad_id|>", "<|endoftext|>")


def prepare_tokenizer(directory: Path | str, info: BackboneInfo, end_ids: set[int]) -> Any:
    """A fresh tokenizer of the backbone, made ready for every consumer.

    Args:
        end_ids: ids that the model's config calls the end of a sequence; never used as padding.
    """
    from transformers import AutoTokenizer

    # Given here, since only what a tokenizer is made with is saved with it.
    tokenizer: Any = AutoTokenizer.from_pretrained(
        directory,
        trust_remote_code=False,
        padding_side="right",
        # A conversation that is too long must not lose its end, where the score is read.
        truncation_side="left",
        # Some consumers pass on whatever the tokenizer gives; decoders know no token types.
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.model_max_length = min(int(tokenizer.model_max_length), info.max_context)
    tokenizer.pad_token = choose_pad_token(tokenizer, info, end_ids)
    tokenizer.chat_template = info.scoring_template
    if len(tokenizer("a")["input_ids"]) != len(tokenizer("a", add_special_tokens=False).input_ids):
        # The template writes the first token already; pipelines would add a second one.
        tokenizer.add_bos_token = False
        tokenizer.add_eos_token = False
    return tokenizer


def choose_pad_token(tokenizer: Any, info: BackboneInfo, end_ids: set[int]) -> str:
    """A token that is neither an end nor ever written by the template; added if there is none."""
    taken = end_ids | {tokenizer.eos_token_id} | _written_ids(tokenizer, info)
    special = [str(t) for t in tokenizer.added_tokens_decoder.values() if t.special]
    unused = [t for t in special if "reserved" in t or "unused" in t]
    for name in [tokenizer.pad_token, *_PAD_NAMES, tokenizer.unk_token, *unused]:
        known = name is not None and (name in special or name == tokenizer.pad_token)
        if known and tokenizer.convert_tokens_to_ids(name) not in taken:
            return str(name)
    tokenizer.add_special_tokens({"pad_token": NEW_PAD})
    return NEW_PAD


def _written_ids(tokenizer: Any, info: BackboneInfo) -> set[int]:
    """Ids that the scoring template itself writes."""
    encoder = ConversationEncoder(tokenizer, info)
    user, assistant = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
    system = {"role": "system", "content": "s"}
    written: set[int] = set()
    for prompt in ([user], [system, user], [user, assistant, user]):
        try:
            written |= set(encoder.answer(encoder.prompt(prompt), "a").input_ids)
        except AnswerError:  # a template without system messages
            continue
    return written
