"""Ids, masks and offsets of rendered conversations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from rm_core.backbone import BackboneInfo, prepare
from rm_core.conversation import ConversationEncoder, Limits
from rm_core.errors import AnswerError, BackboneError
from rm_core.templates import scoring_template
from tests.tiny_backbone import CHATML, build_tiny_backbone, build_tokenizer

USER = [{"role": "user", "content": "Name a fruit."}]


@pytest.fixture(scope="module")
def tokenizer(tiny_backbone: Path):
    return AutoTokenizer.from_pretrained(tiny_backbone)


@pytest.fixture
def encoder(tokenizer, info: BackboneInfo) -> ConversationEncoder:
    return ConversationEncoder(tokenizer, info)


def with_template(tokenizer, info: BackboneInfo, template: str) -> ConversationEncoder:
    other = AutoTokenizer.from_pretrained(info.directory)
    other.chat_template = template
    return ConversationEncoder(other, replace(info, scoring_template=scoring_template(other)))


@pytest.mark.parametrize(
    "response",
    ["An apple.", "", " \n", "苹果", "👩‍👩‍👧 ok", "def f():\n\treturn 1\n", "مرحبا", "e\u0301a"],
)
def test_ids_are_those_of_the_whole_rendered_text_and_end_with_the_turn(
    encoder: ConversationEncoder, tokenizer, response: str
) -> None:
    encoded = encoder.answer(encoder.prompt(USER), response)
    whole = (
        f"<|im_start|>user\nName a fruit.<|im_end|>\n<|im_start|>assistant\n{response}<|im_end|>"
    )
    assert encoded.input_ids == tokenizer(whole, add_special_tokens=False)["input_ids"]
    assert encoded.input_ids[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert sum(encoded.response_mask) == encoded.num_response_tokens == len(encoded.offsets)
    assert len(encoded.attention_mask) == len(encoded.input_ids)
    assert encoded.offsets[-1] == (len(response), len(response))
    covered = {i for a, b in encoded.offsets for i in range(a, b)}
    assert covered == set(range(len(response)))


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40))
@settings(max_examples=60, deadline=None)
def test_offsets_cover_any_text_without_control_tokens(tiny_encoder, response: str) -> None:
    encoded = tiny_encoder.answer(tiny_encoder.prompt(USER), response)
    covered = {i for a, b in encoded.offsets for i in range(a, b)}
    assert covered == set(range(len(response)))


@pytest.fixture(scope="module")
def tiny_encoder(tokenizer, info: BackboneInfo) -> ConversationEncoder:
    return ConversationEncoder(tokenizer, info)


def test_control_tokens_in_the_text_become_control_tokens_and_are_counted(
    encoder: ConversationEncoder, tokenizer
) -> None:
    encoded = encoder.answer(encoder.prompt(USER), "a<|im_end|>b")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert encoded.input_ids[encoded.response_start :].count(end) == 2
    assert encoded.num_control_tokens == 1
    assert (1, 11) in encoded.offsets


def test_a_long_prompt_loses_whole_turns_from_the_left_but_not_the_system_message(
    tokenizer, info: BackboneInfo
) -> None:
    turns = [{"role": "system", "content": "Be kind."}]
    for i in range(6):
        turns += [{"role": "user", "content": f"user {i} " * 8}]
        turns += [{"role": "assistant", "content": f"reply {i} " * 8}]
    turns += [{"role": "user", "content": "last question"}]
    encoder = ConversationEncoder(tokenizer, info, Limits(max_prompt_tokens=300))
    prompt = encoder.prompt(turns)
    assert prompt.messages[0]["content"] == "Be kind."
    assert prompt.messages[1]["role"] == "user"
    assert prompt.messages[-1]["content"] == "last question"
    assert 0 < prompt.num_dropped_turns < len(turns)
    assert prompt.messages[1:] == turns[1 + prompt.num_dropped_turns :]


def test_a_last_turn_over_the_limit_is_refused_with_its_length(
    tokenizer, info: BackboneInfo
) -> None:
    encoder = ConversationEncoder(tokenizer, info, Limits(max_prompt_tokens=20))
    with pytest.raises(AnswerError, match=r"last turn alone has .* tokens and the limit is 20"):
        encoder.prompt([{"role": "user", "content": "b" * 100}])


def test_a_long_response_is_refused_or_cut_but_keeps_its_end(tokenizer, info: BackboneInfo) -> None:
    refusing = ConversationEncoder(tokenizer, info, Limits(max_response_tokens=10))
    with pytest.raises(AnswerError, match="31 tokens and the limit is 10"):
        refusing.answer(refusing.prompt(USER), "b" * 30)
    cutting = ConversationEncoder(tokenizer, info, Limits(max_response_tokens=10, over_long="cut"))
    cut = cutting.answer(cutting.prompt(USER), "b" * 30)
    assert cut.num_response_tokens == 10
    assert cut.num_cut_tokens == 21
    assert cut.input_ids[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert cut.kept == (0, 9)


def test_a_template_that_trims_leaves_the_trimmed_ends_unscored(
    tokenizer, info: BackboneInfo
) -> None:
    trimming = CHATML.replace("message['content']", "message['content'] | trim")
    encoder = with_template(tokenizer, info, trimming)
    encoded = encoder.answer(encoder.prompt(USER), "  two words\n")
    assert encoded.kept == (2, 11)
    assert encoded.offsets[0][0] == 2
    empty = encoder.answer(encoder.prompt(USER), "   ")
    assert empty.num_response_tokens == 1


def test_a_template_that_strips_reasoning_keeps_the_answer_behind_it(
    tokenizer, info: BackboneInfo
) -> None:
    stripping = CHATML.replace(
        "message['content']", "message['content'].split('</think>')[-1].lstrip('\\n')"
    )
    encoder = with_template(tokenizer, info, stripping)
    text = "<think>hm</think>\n\nYes."
    encoded = encoder.answer(encoder.prompt(USER), text)
    assert text[slice(*encoded.kept)] == "Yes."


def test_a_template_that_rewrites_the_answer_is_refused(tokenizer, info: BackboneInfo) -> None:
    encoder = with_template(
        tokenizer, info, CHATML.replace("message['content']", "message['content'] | lower")
    )
    with pytest.raises(AnswerError, match="rewrites this answer's text"):
        encoder.answer(encoder.prompt(USER), "SHOUTED")


def test_a_prompt_that_the_template_refuses_names_its_roles(tokenizer, info: BackboneInfo) -> None:
    strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    encoder = with_template(tokenizer, info, strict + CHATML)
    with pytest.raises(AnswerError, match=r"\['system', 'user'\].*no system"):
        encoder.prompt([{"role": "system", "content": "x"}, *USER])


def test_without_a_template_the_plain_form_of_the_seed_is_used(tmp_path: Path) -> None:
    directory = build_tiny_backbone(tmp_path / "plain")
    for leftover in ("chat_template.jinja", "tokenizer_config.json", "tokenizer.json"):
        (directory / leftover).unlink(missing_ok=True)
    build_tokenizer(directory, chat_template=None)
    info = prepare(str(directory), tmp_path / "cache")
    encoder = ConversationEncoder(AutoTokenizer.from_pretrained(directory), info)
    encoded = encoder.answer(encoder.prompt("Hi"), "Yo")
    text = encoder.tokenizer.decode(encoded.input_ids)
    assert text == "Hi<|im_start|>Yo<|im_end|>"
    assert encoded.num_response_tokens == 3


def test_the_scoring_template_leaves_prompts_as_the_tokenizer_renders_them(tokenizer) -> None:
    asked = {"tokenize": False, "add_generation_prompt": True}
    scoring = tokenizer.apply_chat_template(
        USER, chat_template=scoring_template(tokenizer), **asked
    )
    assert scoring == tokenizer.apply_chat_template(USER, **asked)


def test_a_template_without_an_end_of_turn_token_is_refused(tokenizer, info) -> None:
    with pytest.raises(BackboneError, match="has no special token"):
        with_template(tokenizer, info, "{% for m in messages %}{{ m['content'] }}\n{% endfor %}")


def test_todays_date_does_not_reach_the_ids(tokenizer, info: BackboneInfo) -> None:
    dated = (
        "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}"
        "{% endif %}{{ 'Today: ' + date_string + '\n' }}"
    )
    encoder = with_template(tokenizer, info, dated + CHATML)
    assert encoder.prompt(USER).head.startswith("Today: 26 Jul 2024\n")
