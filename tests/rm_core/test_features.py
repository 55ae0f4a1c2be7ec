"""The feature store and the encoding that fills it."""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import closing
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
            "UPDATE summary SET data = zeroblob(length(data)) WHERE key = ? AND layer = 2",
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
        raw.execute("UPDATE tokens SET crc = crc + 1")
    assert store.check(repair=True).num_damaged == 1
    report = store.check()
    assert (report.num_summaries, report.num_token_records, report.num_damaged) == (1, 0, 0)


def test_a_limit_drops_the_whole_states_used_longest_ago_and_keeps_summaries(
    store: FeatureStore,
) -> None:
    states = np.ones((2000, 8), np.float32)
    store.put(Record(str(i), 1, 2000, np.ones((2, 8), np.float32), states) for i in range(6))
    full = store.evict(max_bytes=10**9)
    assert (full.num_evicted, full.is_within) == (0, True)
    assert [key for key, _ in store.token_states(["0"], 1)] == ["0"]  # used just now
    some = store.evict(max_bytes=full.num_bytes - 2 * states.nbytes)
    assert some.is_within
    assert 0 < some.num_evicted < 6
    left = {key for key, _ in store.token_states([str(i) for i in range(6)], 1)}
    assert "0" in left
    assert "1" not in left
    none = store.evict(max_bytes=1000)
    assert (none.is_within, none.num_kept) == (False, 6)
    report = store.check()
    assert (report.num_summaries, report.num_token_records) == (6, 0)
    assert store.path.stat().st_size < full.num_bytes - 5 * states.nbytes  # given back


def test_refusals_are_remembered_under_their_limits(
    store: FeatureStore, info: BackboneInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    tight = Limits(max_response_tokens=12)
    first = encode(store, info, limits=tight)
    assert (len(first.refused), first.num_refused_before) == (1, 0)
    with monkeypatch.context() as patched:
        patched.setattr("rm_core.encoding.load", None)  # would raise if it were called
        again = encode(store, info, limits=tight)
    assert again.refused == first.refused
    assert (again.num_refused_before, again.num_cached, again.num_encoded) == (1, 3, 0)
    assert store.check().num_refusals == 1
    assert encode(store, info).num_encoded == 1  # under limits that it fits


def test_a_file_of_the_first_format_is_emptied_and_encoded_again(
    info: BackboneInfo, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "features.db"
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE feature (key TEXT, layer INTEGER, kind TEXT, data BLOB)")
        raw.execute("INSERT INTO feature VALUES ('k', 1, 'summary', zeroblob(10))")
    raw.close()
    with FeatureStore(path) as store:
        assert "written by an older version (format 1, now 3)" in caplog.text
        assert encode(store, info).num_encoded == len(ANSWERS)
    caplog.clear()
    with FeatureStore(path) as store:
        assert encode(store, info).num_cached == len(ANSWERS)
    assert not caplog.text


def test_a_file_of_the_second_format_keeps_its_summaries(
    info: BackboneInfo, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "features.db"
    with FeatureStore(path) as store:
        encode(store, info, tokens=True)
        place = keys(store, info)
        wanted = store.summaries(place, 2)
    with closing(sqlite3.connect(path)) as raw, raw:  # as that format had it: data checksums
        for kind in ("summary", "tokens"):
            for rowid, data in raw.execute(f"SELECT id, data FROM {kind}").fetchall():
                raw.execute(f"UPDATE {kind} SET crc = ? WHERE id = ?", (zlib.crc32(data), rowid))
        raw.execute("UPDATE summary SET crc = crc + 1 WHERE id = 1")  # damaged then
        raw.execute("PRAGMA user_version = 2")
    with FeatureStore(path) as store:
        assert "summaries are kept, whole token states are encoded again" in caplog.text
        report = store.check(repair=True)
        assert (report.num_damaged, report.num_token_records) == (1, 0)
        assert encode(store, info, tokens=True).num_encoded == len(ANSWERS)
        np.testing.assert_allclose(store.summaries(place, 2).end, wanted.end, atol=1e-6)


@pytest.mark.parametrize("change", ["num_tokens = 999", "layer = 9", "key = 'x' || key"])
def test_a_record_at_another_s_place_is_damaged(store: FeatureStore, change: str) -> None:
    store.put([Record("k", 1, 3, np.ones((2, 4), np.float32), np.ones((3, 4), np.float32))])
    for kind in ("summary", "tokens"):
        with closing(sqlite3.connect(store.path)) as raw, raw:
            raw.execute(f"UPDATE {kind} SET {change}")
    assert store.check().num_damaged == 2


def test_token_ids_are_kept_with_the_states(store: FeatureStore, info: BackboneInfo) -> None:
    encode(store, info, tokens=True)
    encoder = ConversationEncoder(load(info, device="cpu").tokenizer, info)
    found = {key: ids for key, ids, _ in store.tokens(keys(store, info), 2)}
    for key, answer in zip(keys(store, info), ANSWERS, strict=True):
        one = encoder.answer(encoder.prompt(answer.prompt), answer.response)
        assert found[key].tolist() == one.input_ids[one.response_start :]


def test_a_file_of_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "features.db"
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE future (x)")
        raw.execute("PRAGMA user_version = 99")
    raw.close()
    with pytest.raises(FeatureStoreError, match="format 99 and this version knows 3"):
        FeatureStore(path)


def test_bytes_flipped_on_the_disk_are_found_and_encoded_again(
    info: BackboneInfo, tmp_path: Path
) -> None:
    path = tmp_path / "features.db"
    with FeatureStore(path) as store:
        encode(store, info)
        place = keys(store, info)
        wanted = store.summaries(place, 2)
    data = wanted.end[1].tobytes()
    content = bytearray(path.read_bytes())
    content[content.index(data) + 5] ^= 0xFF
    path.write_bytes(content)
    with FeatureStore(path) as store:
        assert (store.check().num_damaged, store.check().is_sound) == (1, True)
        assert store.check(repair=True).num_damaged == 1
        assert store.missing(place, [2]) == [1]
        assert encode(store, info).num_encoded == 1
        np.testing.assert_allclose(store.summaries(place, 2).end, wanted.end, atol=1e-6)


def test_a_file_whose_structure_is_damaged_says_what_to_do(
    info: BackboneInfo, tmp_path: Path
) -> None:
    path = tmp_path / "features.db"
    with FeatureStore(path) as store:
        encode(store, info)
        place = keys(store, info)
    content = path.read_bytes()
    path.write_bytes(content[:16_384] + b"\xa5" * (len(content) - 16_384))
    with FeatureStore(path) as store:
        assert not store.check().is_sound
        with pytest.raises(FeatureStoreError, match="doctor --repair"):
            store.summaries(place, 2)


def test_many_processes_share_the_file(store: FeatureStore) -> None:
    with FeatureStore(store.path) as other:
        store.put([Record("a", 1, 3, np.ones((2, 4), np.float32))])
        other.put([Record("b", 1, 5, np.full((2, 4), 2, np.float32))])
        for each in (store, other):
            found = each.summaries(["b", "a", "b"], 1)
            assert found.num_tokens.tolist() == [5, 3, 5]
            assert found.end[:, 0].tolist() == [2.0, 1.0, 2.0]


def test_reading_what_was_never_encoded_says_so(store: FeatureStore) -> None:
    with pytest.raises(FeatureStoreError, match="1 of 1 answers are not encoded at layer 7"):
        store.summaries(["nothing"], 7)


def test_a_file_that_is_no_store_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "features.sqlite").write_text("certainly not a database" * 100)
    with pytest.raises(FeatureStoreError, match="cannot be opened"):
        FeatureStore(tmp_path / "features.sqlite")
