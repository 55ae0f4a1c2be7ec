"""From a tokenizer's chat template to the *scoring template* that rm_core renders with.

The scoring template is the tokenizer's own with everything after the last end-of-turn token
removed, so that the last id of a rendered conversation is the end of the answer: the score
position, the same for every consumer of an export. SmolLM2's own template ends in a newline;
scoring there costs one to two points of accuracy. A tokenizer without a template gets the plain
form `prompt + bos + response + eos`. Either way the result is one Jinja string: stored with a
checkpoint, hashed into the features' addresses, written into every export.
"""

from __future__ import annotations

import hashlib
from typing import Any

from rm_core.errors import BackboneError

# Two texts no template would produce or trim; two, so that what varies with the text shows.
_PROBE = "qxzprobe"
_PROBE_PROMPT = [{"role": "user", "content": "qxzprompt"}]

# A template that asks for today's date would give other rewards tomorrow.
_FIXED_DATE = "{%- set date_string = '26 Jul 2024' -%}"

PLAIN_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if loop.last and message['role'] == 'assistant' and not add_generation_prompt -%}"
    "{{- bos_token + message['content'] + eos_token -}}"
    "{%- else -%}"
    "{%- if messages | length > 2 -%}{{- message['role'] + ': ' -}}{%- endif -%}"
    "{{- message['content'] -}}"
    "{%- if not loop.last and messages | length > 2 -%}{{- '\\n' -}}{%- endif -%}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- bos_token -}}{%- endif -%}"
)


def render(tokenizer: Any, template: str, messages: list[dict[str, str]]) -> str:
    """Render a conversation that ends in an assistant turn to the text that is tokenized."""
    text = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False)
    assert isinstance(text, str)
    return text


def scoring_template(tokenizer: Any) -> str:
    """The scoring template of `tokenizer` as one Jinja string.

    Raises:
        BackboneError: the tokenizer has no end-of-turn or end-of-sequence token, or its template
            does not show the answer's text.
    """
    original = tokenizer.chat_template
    if isinstance(original, dict):  # several named templates
        original = original.get("default")
    if not original:
        if not tokenizer.eos_token:
            raise BackboneError(
                "The tokenizer has neither a chat template nor an end-of-sequence token, so an "
                "answer's end cannot be marked; choose a backbone whose tokenizer has one."
            )
        bos = tokenizer.bos_token or tokenizer.eos_token
        return PLAIN_TEMPLATE.replace("bos_token", repr(bos)).replace(
            "eos_token", repr(tokenizer.eos_token)
        )
    if "strftime_now" in original:
        original = _FIXED_DATE + original
    tail = _tail(tokenizer, original)
    cut = _after_last_special(tokenizer, tail)
    if not cut:
        return original
    # {% set %}…{% endset %} renders the original unchanged (Jinja itself drops one last newline);
    # only its known last characters go.
    return (
        "{% set rendered_ %}" + original.removesuffix("\n") + "{% endset %}"
        "{%- if not add_generation_prompt and rendered_.endswith(" + repr(tail) + ") -%}"
        "{{- rendered_[:-" + str(len(cut)) + "] -}}{%- else -%}{{- rendered_ -}}{%- endif -%}"
    )


def _tail(tokenizer: Any, template: str) -> str:
    """What the template writes after the text of the last assistant turn."""
    rendered = render(
        tokenizer, template, [*_PROBE_PROMPT, {"role": "assistant", "content": _PROBE}]
    )
    _, found, tail = rendered.rpartition(_PROBE)
    if not found:
        raise BackboneError(
            f"The chat template drops the assistant's text: {rendered[-200:]!r} does not contain "
            "it; give the tokenizer a template that renders the last assistant turn."
        )
    return tail


def _after_last_special(tokenizer: Any, tail: str) -> str:
    """The part of `tail` behind its last special token ("" where a special token ends it)."""
    ends = [
        tail.rfind(token) + len(token)
        for token in _special_tokens(tokenizer)
        if token and token in tail
    ]
    if not ends:
        raise BackboneError(
            f"The chat template ends an answer with {tail!r}, which has no special token, so its "
            "end cannot be scored; give the tokenizer a template with an end-of-turn token."
        )
    return tail[max(ends) :]


def _special_tokens(tokenizer: Any) -> list[str]:
    """Every control token's text: the named special tokens and the added ones marked special."""
    added = [str(t) for t in tokenizer.added_tokens_decoder.values() if t.special]
    return sorted({*tokenizer.all_special_tokens, *added})


def control_tokens(tokenizer: Any) -> tuple[str, ...]:
    """Texts that would turn into a control token when they stand in a prompt or an answer."""
    return tuple(token for token in _special_tokens(tokenizer) if token)


def text_hash(text: str) -> str:
    """sha256 of a text, hex."""
    return hashlib.sha256(text.encode()).hexdigest()
