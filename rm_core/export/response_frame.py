"""Where a response starts, from token ids alone: what the exact export's modelling file needs.

Ids are turned back into bytes by a table, and the response begins behind the last occurrence of the
*header*: the text that the scoring template writes before every answer (ChatML:
`<|im_end|>\\n<|im_start|>assistant\\n`). Bytes, not ids, because a tokenizer may merge the header's
last character with the answer's first (a newline with a newline), and then that token belongs to
the response, as everywhere in rm_core.

The header is found, not guessed: prompts of many forms are rendered, and it is what all their heads
end with.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from rm_core.conversation import ConversationEncoder, Message
from rm_core.errors import AnswerError, ExportError
from rm_core.templates import render

_RESPONSE = "qxzprobe"
# Fewer bytes than this without a control token would stand in many an answer.
_MIN_PLAIN_HEADER = 4
_ENDINGS = ["a", "B?", "7", ".", "\n", " ", "é", "猫", "🙂", "]", ">", '"']


@dataclass(frozen=True)
class ResponseFrame:
    """What stands around every answer.

    Attributes:
        header: the text before it.
        end: the text behind it.
        has_control_token: whether the header holds one, so that ordinary text cannot spell it.
        after_any_role: whether it stands there after every kind of turn, not only the user's.
    """

    header: str
    end: str
    has_control_token: bool
    after_any_role: bool

    @property
    def limits(self) -> list[str]:
        """The cases in which the rule is wrong, for the report and the README."""
        what = "control tokens" if self.has_control_token else "text"
        found = [
            f"a response that itself spells the {what} {self.header!r} is read from behind that; "
            "pass response_mask for such a one"
        ]
        if not self.after_any_role:
            found.append("a prompt that does not end in a user turn needs response_mask")
        return found


def token_table(tokenizer: Any) -> list[bytes]:
    """The bytes that each id stands for, so that the bytes of ids joined are the text's."""
    added = {number: str(token) for number, token in tokenizer.added_tokens_decoder.items()}
    count = len(tokenizer)
    names = tokenizer.convert_ids_to_tokens(list(range(count)))
    to_byte = _byte_level_alphabet() if _is_byte_level(tokenizer) else None
    table = []
    for number, name in enumerate(names):
        if number in added:
            table.append(added[number].encode())
        elif name is None:
            table.append(b"")
        elif to_byte is not None:
            table.append(bytes(to_byte[c] for c in name if c in to_byte))
        elif name.startswith("<0x") and name.endswith(">") and len(name) == 6:
            table.append(bytes([int(name[3:5], 16)]))
        else:
            table.append(name.replace("▁", " ").encode())
    return table


def find_frame(encoder: ConversationEncoder, table: list[bytes]) -> ResponseFrame:
    """The header and end that the scoring template puts around every answer.

    Raises:
        ExportError: answers have nothing before them by which they could be recognised.
    """
    usual, unusual = _probe_prompts()
    header = ""
    for prompts in (usual + unusual, usual):
        heads, end = _heads(encoder, prompts, table)
        header = _common_suffix(heads).decode(errors="ignore")  # without a character cut in two
        has_control = any(token in header for token in encoder.info.control_tokens)
        if has_control or len(header.strip()) >= _MIN_PLAIN_HEADER:
            return ResponseFrame(header, end, has_control, after_any_role=prompts is not usual)
    raise ExportError(
        f"The chat template of {encoder.info.name} writes only {header!r} before an answer, by "
        "which the response cannot be found in token ids; train with the readout last, or give "
        "the backbone a template with an assistant header."
    )


def _heads(
    encoder: ConversationEncoder, prompts: list[list[Message]], table: list[bytes]
) -> tuple[list[bytes], str]:
    """What stands before an answer to each prompt that the template takes, and behind it."""
    heads, end = [], ""
    for messages in prompts:
        try:
            prompt = encoder.prompt(messages)
        except AnswerError:  # a template without system messages, or with strict turns
            continue
        heads.append(_head_bytes(encoder, messages, len(prompt.head), table))
        end = prompt.tail
    return heads, end


def _head_bytes(
    encoder: ConversationEncoder, messages: list[Message], head_len: int, table: list[bytes]
) -> bytes:
    """What stands before the answer, as the ids spell it."""
    whole = [*messages, {"role": "assistant", "content": _RESPONSE}]
    text = render(encoder.tokenizer, encoder.info.scoring_template, whole)
    tokens = encoder.tokenizer(
        text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    ids, spans = tokens["input_ids"], tokens["offset_mapping"]
    start = next(i for i, (_, end) in enumerate(spans) if end > head_len)
    # A token that straddles the boundary has the rest of the head in it.
    rest = text[min(spans[start][0], head_len) : head_len].encode()
    return b"".join(table[i] for i in ids[:start]) + rest


def _common_suffix(texts: list[bytes]) -> bytes:
    """The longest end that all share; empty for no texts."""
    count = 0
    while texts and all(len(t) > count and t[-1 - count] == texts[0][-1 - count] for t in texts):
        count += 1
    return texts[0][len(texts[0]) - count :] if texts else b""


def _probe_prompts() -> tuple[list[list[Message]], list[list[Message]]]:
    """Prompts that differ in all that must not reach the header; last those with unusual turns."""
    turns = [[{"role": "user", "content": f"Tell me{end}"}] for end in _ENDINGS]
    longer = []
    for number, end in enumerate(_ENDINGS[:4]):
        system = [{"role": "system", "content": f"Rule {number}{end}"}] if number % 2 else []
        asked = [
            {"role": "user", "content": f"First{end}"},
            {"role": "assistant", "content": f"Reply {number}{end}"},
        ]
        longer.append([*system, *asked, {"role": "user", "content": f"Then {number}{end}"}])
    unusual = [[*turns[0], {"role": role, "content": "More."}] for role in ("assistant", "system")]
    return [*turns, *longer], unusual


def _is_byte_level(tokenizer: Any) -> bool:
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    return "ByteLevel" in json.dumps([parts["decoder"], parts["pre_tokenizer"]])


def _byte_level_alphabet() -> dict[str, int]:
    """Byte-level BPE spells each byte as one printable character; the inverse of that."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [b for b in range(256) if b not in shown]
    return {chr(b): b for b in shown} | {chr(256 + i): b for i, b in enumerate(hidden)}
