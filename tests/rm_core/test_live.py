"""Live encoding: the plain path's numbers, at the price of what changed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rm_core.backbone import prepare
from rm_core.conversation import ConversationEncoder
from rm_core.errors import Stopped
from rm_core.live import PIECE, LiveEncoder
from rm_core.transformer import Backbone, Tree, load

PROMPT = "How do I fold a letter?"


@pytest.fixture(scope="module")
def backbone(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    info = prepare(str(tiny_backbone), tmp_path_factory.mktemp("described"))
    return load(info, device="cpu", num_layers=3)


def ids_of(backbone: Backbone, text: str) -> list[int]:
    encoder = ConversationEncoder(backbone.tokenizer, backbone.info)
    return encoder.answer(encoder.prompt(PROMPT), text).input_ids


def plain(backbone: Backbone, ids: list[int]) -> torch.Tensor:
    return backbone.states([Tree([], [ids])], [3])[0][0][3][1:]


EDITS = [
    "one two three",
    "one two threex",
    "one two",
    "Xone two three",
    "one tXwo 世界",
    "",
    "one two",
]


def test_every_edit_gives_the_states_of_encoding_from_scratch(backbone: Backbone) -> None:
    live = LiveEncoder(backbone)
    assert live.reuses_prefixes
    for text in EDITS:
        ids = ids_of(backbone, text)
        states, _ = live.states(ids)
        torch.testing.assert_close(states, plain(backbone, ids), atol=1e-4, rtol=1e-4)


def test_only_what_changed_is_encoded(backbone: Backbone) -> None:
    live = LiveEncoder(backbone)
    first, longer = ids_of(backbone, "one two three"), ids_of(backbone, "one two threex")
    assert live.states(first)[1].num_encoded == len(first)
    assert live.states(longer)[1].num_encoded == 2  # the letter and the end of turn
    assert live.states(longer)[1].num_encoded == 0
    other = ids_of(backbone, "another answer")
    shared = len(ids_of(backbone, "")) - 1
    assert live.states(other)[1].num_encoded == len(other) - shared  # the prompt is shared


def test_what_is_kept_is_bounded_and_typing_on_replaces_what_it_grew_from(
    backbone: Backbone,
) -> None:
    live = LiveEncoder(backbone, max_kept_tokens=200)
    for number in range(20):
        live.states(ids_of(backbone, f"{number} is a number " * 2))
    assert live.num_kept_tokens <= 200
    live.forget()
    for end in range(1, 12):
        live.states(ids_of(backbone, "one two three"[:end]))
    assert live.num_kept_tokens < 2 * len(ids_of(backbone, "one two three"))


def test_an_edit_costs_what_changed_however_many_tokens_the_answers_have_together(
    backbone: Backbone,
) -> None:
    live = LiveEncoder(backbone, max_kept_tokens=200)

    def cost(*answers: str) -> int:
        texts = [ids_of(backbone, answer) for answer in answers]
        return sum(work.num_encoded for _, work in live.states_of(texts))

    answers = [f"{number} is a number " * 8 for number in "ABCDE"]
    size = sum(len(ids_of(backbone, answer)) for answer in answers)
    assert size > 3 * live.max_kept_tokens
    cost(*answers)
    assert cost(*answers) == 0
    for _ in range(6):  # edits in the middle, each of which is a text of its own
        answers[2] = "x" + answers[2]
        edited = len(ids_of(backbone, answers[2]))
        assert cost(*answers) <= edited
        assert live.num_kept_tokens <= size + 3 * edited
    states = [states for states, _ in live.states_of([ids_of(backbone, a) for a in answers])]
    for answer, found in zip(answers, states, strict=True):
        want = plain(backbone, ids_of(backbone, answer))
        torch.testing.assert_close(found, want, atol=1e-4, rtol=1e-4)


def test_what_the_last_large_request_needed_goes_with_the_next_ones(backbone: Backbone) -> None:
    live = LiveEncoder(backbone, max_kept_tokens=200)
    large = [ids_of(backbone, f"{number} is a number " * 8) for number in "ABCDE"]
    list(live.states_of(large))
    assert live.num_kept_tokens > 200
    live.states(ids_of(backbone, "something else"))
    assert live.num_kept_tokens <= 200 + max(map(len, large))


def test_a_stale_text_is_given_up_between_pieces_and_what_was_done_is_kept(
    backbone: Backbone,
) -> None:
    live = LiveEncoder(backbone)
    ids = ids_of(backbone, "word " * 200)
    assert len(ids) > 2 * PIECE
    asked = iter([False, True])
    with pytest.raises(Stopped):
        live.states(ids, lambda: next(asked))
    states, work = live.states(ids)
    assert work.num_encoded == len(ids) - PIECE
    torch.testing.assert_close(states, plain(backbone, ids), atol=1e-4, rtol=1e-4)


def test_where_prefixes_cannot_be_reused_the_plain_path_gives_the_same(
    backbone: Backbone,
) -> None:
    live = LiveEncoder(backbone)
    live.reuses_prefixes = False
    ids = ids_of(backbone, "one two three")
    states, work = live.states(ids)
    assert work.num_encoded == len(ids)
    torch.testing.assert_close(states, plain(backbone, ids), atol=1e-4, rtol=1e-4)
