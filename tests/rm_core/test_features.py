"""The feature store and the encoding that fills it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from rm_core.backbone import BackboneInfo
from rm_core.conversation import Answer, ConversationEncoder, Limits
from rm_core.encoding import EncodeProgress, encode_missing
from rm_core.errors import FeatureStoreError
from rm_core.features import FeatureStore, Record
from rm_core.transformer import Tree, load

PROMPT = [{"role": "user", "content": "Name a fruit."}]
ANSWERS = [
    Answer(PROMPT, "An apple."),
    Answer(PROMPT, "A pear, or two."),
    Answer([{"role": "user", "content": "Count."}], "1 2 3"),
    Answer(PROMPT, ""),
]


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "features.sqlite")


def encode(store: FeatureStore, info: BackboneInfo, answers=ANSWERS, **options):
    options = {"layers": [2, 3], "limits": Limits(), "device": "cpu"} | options
    return encode_missing(store, info, answers, **options)


def keys(store: FeatureStore, info: BackboneInfo, answers=ANSWERS) -> list[str]:
    return store.keys_for(info, "float32", Limits(), answers)


def test_summaries_are_mean_and_end_of_the_answers_own_states(
    store: FeatureStore, info: BackboneInfo
) -> None:
    encode(store, info, tokens=True)
    backbone = load(info, device="cpu")
    encoder = ConversationEncoder(backbone.tokenizer, info)
    for layer in (2, 3):
        summaries = store.summaries(keys(store, info), layer)
        states = dict(store.token_states(keys(store, info), layer))
        for i, answer in enumerate(ANSWERS):
            one = encoder.answer(encoder.prompt(answer.prompt), answer.response)
            start = one.response_start
            tree = Tree(one.input_ids[:start], [one.input_ids[start:]])
            alone = backbone.states([tree], [layer])[0][0][layer][1:].numpy()
            np.testing.assert_allclose(summaries.mean[i], alone.mean(axis=0), atol=1e-5)
            np.testing.assert_allclose(summaries.end[i], alone[-1], atol=1e-5)
            np.testing.assert_allclose(states[keys(store, info)[i]], alone, atol=1e-5)
            assert summaries.num_tokens[i] == len(alone)


def test_nothing_is_encoded_twice_and_the_backbone_is_not_loaded_for_nothing(
    store: FeatureStore, info: BackboneInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = encode(store, info, ANSWERS + ANSWERS[:1])
    assert (first.num_encoded, first.num_cached) == (4, 0)
    assert first.attention == "packed"
    monkeypatch.setattr("rm_core.encoding.load", None)  # would raise if it were called
    again = encode(store, info)
    assert (again.num_encoded, again.num_cached, again.device) == (0, 4, None)


def test_a_stop_keeps_what_is_done_and_the_next_call_goes_on(
    store: FeatureStore, info: BackboneInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rm_core.encoding._TOKEN_BUDGET", {"cpu": 1, "cuda": 1})
    asked: list[None] = []

    def stop_at_third() -> bool:
        asked.append(None)
        return len(asked) > 2

    stopped = encode(store, info, should_stop=stop_at_third)
    assert stopped.stopped
    assert stopped.num_encoded == 2
    rest = encode(store, info)
    assert (rest.num_encoded, rest.num_cached) == (2, 2)


def test_one_bad_answer_is_reported_and_the_others_are_encoded(
    store: FeatureStore, info: BackboneInfo
) -> None:
    limits = Limits(max_response_tokens=12)
    report = encode(store, info, limits=limits)
    assert [index for index, _ in report.refused] == [1]
    assert "limit is 12" in report.refused[0][1]
    assert report.num_encoded == 3


def test_progress_ends_at_its_total(store: FeatureStore, info: BackboneInfo) -> None:
    seen: list[EncodeProgress] = []
    encode(store, info, on_progress=seen.append)
    assert (seen[0].done, seen[0].total) == (0, 4)
    assert seen[-1].done == seen[-1].total == 4
    assert seen[-1].eta_s == 0.0


def test_the_address_changes_with_text_dtype_and_turn_boundaries(
    store: FeatureStore, info: BackboneInfo
) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    joined = [{"role": "user", "content": 'a"],["assistant","b'}]
    variants = [
        store.keys_for(info, "float32", Limits(), [Answer(turns, "x")]),
        store.keys_for(info, "float32", Limits(), [Answer(joined, "x")]),
        store.keys_for(info, "float32", Limits(), [Answer(turns, "x ")]),
        store.keys_for(info, "bfloat16", Limits(), [Answer(turns, "x")]),
    ]
    assert len({key for [key] in variants}) == len(variants)


def test_limits_that_change_nothing_share_what_is_encoded(
    store: FeatureStore, info: BackboneInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode(store, info)
    monkeypatch.setattr("rm_core.encoding.load", None)  # would raise if it were called
    wider = Limits(info.max_context, info.max_context, "cut")
    assert encode(store, info, limits=wider).num_cached == len(ANSWERS)
    assert store.keys_for(info, "float32", wider, ANSWERS) == keys(store, info)


def test_limits_that_bite_have_records_of_their_own_in_either_order(
    info: BackboneInfo, tmp_path: Path
) -> None:
    turns = [{"role": "user", "content": "first " * 9}, {"role": "assistant", "content": "reply"}]
    answers = [*ANSWERS, Answer([*turns, *PROMPT], "An apple.")]
    tight = Limits(max_prompt_tokens=60, max_response_tokens=12, over_long="cut")
    found = []
    for name, order in (("a", (Limits(), tight)), ("b", (tight, Limits()))):
        store = FeatureStore(tmp_path / name)
        encoded = [encode(store, info, answers, limits=limits).num_encoded for limits in order]
        assert encoded[0] == len(answers)
        assert encoded[1] == 2  # the long response, and the prompt that loses turns
        by_limits = []
        for limits in (Limits(), tight):
            assert encode(store, info, answers, limits=limits).num_encoded == 0
            where = store.keys_for(info, "float32", limits, answers)
            by_limits.append(store.summaries(where, 2))
        found.append(by_limits)
        assert by_limits[0].num_tokens.tolist()[1] > by_limits[1].num_tokens.tolist()[1] == 12
        differs = np.abs(by_limits[0].end - by_limits[1].end).max(axis=1) > 1e-3
        assert differs.tolist() == [False, True, False, False, True]
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one.mean, other.mean, atol=1e-5)


def test_a_damaged_record_is_found_dropped_and_encoded_again(
    store: FeatureStore, info: BackboneInfo
) -> None:
    encode(store, info)
    whole = store.summaries(keys(store, info), 2).mean.copy()
    with sqlite3.connect(store.path) as raw:
        raw.execute(
            "UPDATE feature SET data = zeroblob(length(data)) WHERE key = ? AND layer = 2",
            [keys(store, info)[1]],
        )
    assert store.check().num_damaged == 1
    assert store.summaries(keys(store, info), 2).damaged == [1]
    assert store.missing(keys(store, info), [2]) == [1]
    assert encode(store, info).num_encoded == 1
    np.testing.assert_allclose(store.summaries(keys(store, info), 2).mean, whole, atol=1e-6)
    assert store.check().num_damaged == 0


def test_check_repairs_on_request(store: FeatureStore) -> None:
    store.put([Record("k", 1, 3, np.ones((2, 4), np.float32), np.ones((3, 4), np.float32))])
    with sqlite3.connect(store.path) as raw:
        raw.execute("UPDATE feature SET crc = crc + 1 WHERE kind = 'tokens'")
    assert store.check(repair=True).num_damaged == 1
    report = store.check()
    assert (report.num_summaries, report.num_token_records, report.num_damaged) == (1, 0, 0)


def test_eviction_drops_whole_states_and_keeps_summaries(store: FeatureStore) -> None:
    states = np.ones((10, 4), np.float32)
    store.put(Record(str(i), 1, 10, np.ones((2, 4), np.float32), states) for i in range(5))
    assert store.evict_tokens(max_bytes=states.nbytes * 2) == 3
    report = store.check()
    assert (report.num_summaries, report.num_token_records) == (5, 2)


def test_reading_what_was_never_encoded_says_so(store: FeatureStore) -> None:
    with pytest.raises(FeatureStoreError, match="1 of 1 answers are not encoded at layer 7"):
        store.summaries(["nothing"], 7)


def test_a_file_that_is_no_store_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "features.sqlite").write_text("certainly not a database" * 100)
    with pytest.raises(FeatureStoreError, match="cannot be opened"):
        FeatureStore(tmp_path / "features.sqlite")
