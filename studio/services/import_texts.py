"""The prompt and the answers of a row of a preference file, checked; raises RowRefused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from studio.services.import_files import RowRefused, text_of

ROLES = ("system", "developer", "user", "assistant", "tool")
MAX_RESPONSES = 32
Messages = list[dict[str, str]]


def is_given(row: Mapping[str, Any], name: str) -> bool:
    """The column is there and not empty."""
    return row.get(name) is not None


def chosen_and_rejected(row: Mapping[str, Any]) -> tuple[Messages, tuple[str, ...]]:
    """Prompt and two answers; without a prompt both are conversations that share it."""
    for name in ("chosen", "rejected"):
        if not is_given(row, name):
            seen = "it is empty" if name in row else f"columns {', '.join(map(str, row))}"
            raise RowRefused(f"no '{name}'", seen)
    if is_given(row, "prompt"):
        messages = prompt_of(row)
        return messages, (_answer(row, "chosen", messages), _answer(row, "rejected", messages))
    chosen, rejected = (_conversation(row, name) for name in ("chosen", "rejected"))
    if chosen[:-1] != rejected[:-1]:
        raise RowRefused("chosen and rejected differ before their last message")
    return chosen[:-1], (chosen[-1]["content"], rejected[-1]["content"])


def _conversation(row: Mapping[str, Any], name: str) -> Messages:
    value = text_of(row[name])
    if not isinstance(value, list):
        raise RowRefused("no 'prompt'", f"and '{name}' is {type(value).__name__}")
    messages = _messages(value, name)
    if len(messages) < 2:
        raise RowRefused("no 'prompt'", f"and '{name}' holds one message only")
    if messages[-1]["role"] != "assistant":
        raise RowRefused(f"'{name}' does not end with an assistant's message", messages[-1]["role"])
    return messages


def prompt_of(row: Mapping[str, Any]) -> Messages:
    """The prompt as messages; plain text is a user's."""
    prompt = text_of(row.get("prompt"))
    if prompt is None:
        raise RowRefused("no 'prompt'", f"columns {', '.join(map(str, row))}")
    if isinstance(prompt, str):
        if not prompt.strip():
            raise RowRefused("the prompt is empty")
        return [{"role": "user", "content": prompt}]
    messages = _messages(prompt, "prompt")
    if not messages:
        raise RowRefused("the prompt is empty")
    return messages


def _answer(row: Mapping[str, Any], name: str, prompt: Messages) -> str:
    """An answer as text, or as messages, with or without the prompt's before it."""
    value = text_of(row[name])
    if isinstance(value, str):
        return value
    messages = _messages(value, name)
    if messages[: len(prompt)] == prompt:
        messages = messages[len(prompt) :]
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise RowRefused(
            f"'{name}' is not one assistant's message after the prompt",
            [message["role"] for message in messages],
        )
    return messages[0]["content"]


def _messages(value: Any, name: str) -> Messages:
    if not isinstance(value, list):
        raise RowRefused(f"'{name}' is neither text nor messages", type(value).__name__)
    return [_message(each, name) for each in value]


def _message(message: Any, name: str) -> dict[str, str]:
    if not isinstance(message, Mapping):
        raise RowRefused(f"a message of '{name}' is no object", type(message).__name__)
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise RowRefused(f"a message of '{name}' has an unknown role", repr(role))
    if isinstance(content, list):
        content = _joined_parts(content, name)
    if not isinstance(content, str):
        raise RowRefused(f"a message of '{name}' has no text", type(content).__name__)
    for key, other in message.items():
        if key not in ("role", "content") and other:
            raise RowRefused(f"a message of '{name}' has more than role and content", key)
    return {"role": role, "content": content}


def _joined_parts(parts: list[Any], name: str) -> str:
    texts = []
    for part in parts:
        is_text = isinstance(part, Mapping) and part.get("type") == "text"
        if not is_text or not isinstance(part.get("text"), str):
            raise RowRefused(f"a message of '{name}' holds something other than text", part)
        texts.append(part["text"])
    return "".join(texts)


def answers_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The texts in `answers` or `responses`."""
    name = "answers" if is_given(row, "answers") else "responses"
    value = row[name]
    if not isinstance(value, list) or not 2 <= len(value) <= MAX_RESPONSES:
        seen = len(value) if isinstance(value, list) else type(value).__name__
        raise RowRefused(f"'{name}' is no list of 2 to {MAX_RESPONSES} answers", seen)
    texts = tuple(map(text_of, value))
    if not all(isinstance(each, str) for each in texts):
        raise RowRefused(f"an answer in '{name}' is no text", "it is empty" * (None in texts))
    return texts


def sources_of(row: Mapping[str, Any], num_answers: int) -> tuple[str | None, ...]:
    """Who wrote each answer; empty where nothing is said."""
    value = row.get("sources")
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) != num_answers:
        seen = len(value) if isinstance(value, list) else type(value).__name__
        raise RowRefused("'sources' is no list with a name for each answer", seen)
    return tuple(None if each in (None, "") else str(each) for each in value)
