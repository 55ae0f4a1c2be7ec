"""From judged pairs to a checkpoint, and its scores."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rm_core import checkpoint
from rm_core.backbone import BackboneInfo
from rm_core.config import TrainConfig
from rm_core.errors import (
    AnswerError,
    CheckpointError,
    FeatureStoreError,
    Stopped,
    TrainingDataError,
)
from rm_core.features import FeatureStore
from rm_core.model_card import model_card
from rm_core.pairs import prompt_group, split_of
from rm_core.scoring import RewardModel
from rm_core.training import TrainResult, load_features, train
from tests.rm_core.conftest import planted_pairs
from tests.tiny_backbone import build_tiny_backbone

USER = [{"role": "user", "content": "Question?"}]


def run(info: BackboneInfo, store: FeatureStore, pairs=None, **config) -> TrainResult:
    pairs = planted_pairs(120, heldout_every=3) if pairs is None else pairs
    return train(pairs, info=info, store=store, config=TrainConfig(**config), device="cpu")


@pytest.fixture(scope="module")
def result(info: BackboneInfo, shared_store: FeatureStore) -> TrainResult:
    return run(info, shared_store)


@pytest.fixture(scope="module")
def saved(result: TrainResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoints") / "one"
    checkpoint.save(directory, result, {"project": "planted"})
    return directory


@pytest.fixture(scope="module")
def model(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> RewardModel:
    return RewardModel.from_checkpoint(
        saved, backbones_dir=tmp_path_factory.mktemp("backbones"), device="cpu"
    )


def test_a_planted_preference_is_learned_and_evaluated_on_held_out_prompts(
    result: TrainResult,
) -> None:
    metrics = result.metrics
    assert metrics["evaluation"] == "heldout"
    assert (metrics["num_train_pairs"], metrics["pairs"]) == (80, 40)
    assert metrics["accuracy"] > 0.9
    assert [c["chosen"] for c in result.candidates].count(True) == 1
    assert len(result.candidates) == 2  # one default layer of four, two readouts
    best = min(result.candidates, key=lambda c: c["left_out_log_loss"])
    assert best["chosen"]
    json.dumps(result.manifest, allow_nan=False)


def test_the_same_pairs_give_the_same_head_to_the_bit(
    result: TrainResult, info: BackboneInfo, shared_store: FeatureStore
) -> None:
    again = run(info, shared_store)
    assert np.array_equal(again.head.value_weight, result.head.value_weight)
    assert again.head.readout == result.head.readout


def test_held_out_pairs_do_not_touch_the_head(
    result: TrainResult, info: BackboneInfo, shared_store: FeatureStore
) -> None:
    pairs = planted_pairs(120, heldout_every=3)
    flipped = [replace(p, target=1 - p.target) if p.split == "heldout" else p for p in pairs]
    other = run(info, shared_store, flipped)
    assert np.array_equal(other.head.value_weight, result.head.value_weight)
    assert other.metrics["accuracy"] == pytest.approx(1 - result.metrics["accuracy"])


def test_the_average_training_answer_has_reward_zero(
    result: TrainResult, info: BackboneInfo, shared_store: FeatureStore
) -> None:
    answers = [
        a
        for p in planted_pairs(120, heldout_every=3)
        if p.split == "train"
        for a in (p.answer_a, p.answer_b)
    ]
    keys = shared_store.keys_for(info, "float32", TrainConfig().limits, answers)
    summaries = shared_store.summaries(keys, result.head.layer)
    rewards = result.head.rewards(summaries.mean, summaries.end)
    assert abs(rewards.mean()) < 1e-4 * rewards.std()


def test_with_few_held_out_prompts_the_figures_are_cross_validated(
    info: BackboneInfo, shared_store: FeatureStore
) -> None:
    metrics = run(info, shared_store, planted_pairs(40, heldout_every=5)).metrics
    assert metrics["evaluation"] == "cross-validation"
    assert metrics["pairs"] == metrics["num_train_pairs"] == 40
    assert metrics["num_folds"] == 5
    assert metrics["accuracy"] > 0.8


def test_random_votes_are_judged_to_be_chance(
    info: BackboneInfo, shared_store: FeatureStore
) -> None:
    rng = np.random.default_rng(0)
    pairs = [replace(p, target=float(rng.integers(0, 2))) for p in planted_pairs(120)]
    metrics = run(info, shared_store, pairs).metrics
    assert 0.35 < metrics["accuracy"] < 0.65
    assert metrics["log_loss"] < 0.75


@pytest.mark.parametrize("readout", ["last", "mean"])
def test_the_per_token_objective_learns_too(
    info: BackboneInfo, shared_store: FeatureStore, readout
) -> None:
    result = run(info, shared_store, objective="token", readouts=[readout])
    assert result.head.readout == readout
    assert result.metrics["accuracy"] > 0.75


def test_in_bfloat16_answers_part_where_their_ids_do(info: BackboneInfo, tmp_path: Path) -> None:
    pairs = planted_pairs(24)
    begun = [
        replace(
            p,
            answer_a=p.answer_a._replace(response="begun alike " + p.answer_a.response),
            answer_b=p.answer_b._replace(response="begun alike " + p.answer_b.response),
        )
        for p in pairs
    ]
    store = FeatureStore(tmp_path / "f")
    for dtype in ("float32", "bfloat16"):
        config = TrainConfig(objective="token", layers=[3], dtype=dtype)
        train(begun, info=info, store=store, config=config, device="cpu")
        features = load_features(begun, 3, info, store, config)
        assert features.partings.min() > 3
        if dtype == "float32":
            wanted = features.partings
        assert np.array_equal(features.partings, wanted)


def test_evicted_token_states_are_said_to_be_evicted(info: BackboneInfo, tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "f")
    config = TrainConfig(objective="token", layers=[3])
    pairs = planted_pairs(24)
    train(pairs, info=info, store=store, config=config, device="cpu")
    store.evict(0)
    with pytest.raises(FeatureStoreError, match=r"of 24 answers are not .* evicted to keep"):
        load_features(pairs, 3, info, store, config)


def test_every_solver_step_is_reported_and_the_loss_falls(
    info: BackboneInfo, shared_store: FeatureStore
) -> None:
    stages: list[str] = []
    steps: list[dict[str, float]] = []
    train(
        planted_pairs(120, heldout_every=3),
        info=info,
        store=shared_store,
        device="cpu",
        on_stage=stages.append,
        on_metrics=lambda step, metrics: steps.append(metrics),
    )
    assert stages == ["encoding", "fitting", "evaluating"]
    assert steps[0]["loss"] == pytest.approx(math.log(2))
    losses = [s["loss"] for s in steps]
    assert losses[-1] < losses[0]
    assert steps[-1]["reward_gap"] == pytest.approx(
        steps[-1]["reward_chosen"] - steps[-1]["reward_rejected"]
    )
    assert set(steps[0]) == {
        "loss",
        "reward_chosen",
        "reward_rejected",
        "reward_gap",
        "heldout_accuracy",
        "heldout_accuracy_low",
        "heldout_accuracy_high",
    }
    for figures in steps:
        low, high = figures["heldout_accuracy_low"], figures["heldout_accuracy_high"]
        assert low <= figures["heldout_accuracy"] <= high


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "there are 0 judged pairs of 0 prompts"),
        (planted_pairs(1), "there is 1 judged pair of 1 prompt"),
        ([replace(p, target=0.5) for p in planted_pairs(5)], "All 5 judged pairs are ties"),
    ],
)
def test_too_little_to_learn_from_is_said_plainly(
    info: BackboneInfo, shared_store: FeatureStore, pairs, message: str
) -> None:
    with pytest.raises(TrainingDataError, match=message):
        run(info, shared_store, pairs)


def test_a_prompt_in_both_splits_is_refused_with_counts(
    info: BackboneInfo, shared_store: FeatureStore
) -> None:
    pairs = planted_pairs(60, heldout_every=3)
    again = [replace(pairs[0], pair_id="again", split="train")]
    with pytest.raises(TrainingDataError, match=r"1 of 20 held-out pairs are of 1 prompt that"):
        run(info, shared_store, pairs + again)


def test_a_prompt_s_split_is_the_same_for_every_pair_and_about_a_fifth_is_held_out() -> None:
    prompts = [[{"role": "user", "content": f"Question {i}?"}] for i in range(500)]
    held = [split_of(p) == "heldout" for p in prompts]
    assert 75 <= sum(held) <= 125
    assert held == [split_of(json.loads(json.dumps(p))) == "heldout" for p in prompts]


def test_pairs_with_a_refused_answer_are_left_out_and_counted(
    info: BackboneInfo, tmp_path: Path
) -> None:
    pairs = planted_pairs(40)
    long = pairs[0].answer_a._replace(response="b" * 500)
    pairs[0] = replace(pairs[0], answer_a=long)
    metrics = run(info, FeatureStore(tmp_path / "f"), pairs, max_response_tokens=100).metrics
    assert metrics["num_pairs"] == 39
    assert metrics["left_out"] == {"answers_refused": 1}
    assert "limit is 100" in metrics["encoding"]["refused"][0]


def test_that_every_answer_was_refused_is_said_and_not_that_pairs_are_missing(
    info: BackboneInfo, tmp_path: Path
) -> None:
    with pytest.raises(TrainingDataError, match=r"40 judged pairs only 0 .*the limit is 1;"):
        run(info, FeatureStore(tmp_path / "f"), planted_pairs(40), max_response_tokens=1)


def test_a_stop_while_encoding_raises_and_leaves_no_head(
    info: BackboneInfo, tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        train(
            planted_pairs(40),
            info=info,
            store=FeatureStore(tmp_path / "f"),
            device="cpu",
            should_stop=lambda: True,
        )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"objektive": "outcome"}, "'objektive' is not known; the known ones are objective"),
        ({"objective": "magic"}, "objective = 'magic' is not of the wanted kind"),
        ({"layers": "all"}, "layers = 'all'"),
        ({"layers": [True]}, "layers"),
        ({"penalty": -1.0}, "penalty = -1.0 must be above 0"),
        ({"num_folds": 1}, "num_folds = 1 must be at least 2"),
        ({"objective": "token", "readouts": ["mean+last"]}, "fits one value vector"),
    ],
)
def test_wrong_settings_are_named_with_their_value(fields, message: str) -> None:
    with pytest.raises(TrainingDataError, match=message.replace("+", r"\+")):
        TrainConfig.from_dict(fields)


def test_settings_read_from_toml_and_survive_a_round_trip(tmp_path: Path) -> None:
    file = tmp_path / "train.toml"
    file.write_text('[train]\nlayers = [2]\nreadouts = ["mean"]\npenalty = 1\n')
    config = TrainConfig.from_toml(file)
    assert config == TrainConfig(layers=[2], readouts=["mean"], penalty=1)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.as_dict()))) == config
    file.write_text("layers = [")
    with pytest.raises(TrainingDataError, match=r"train\.toml cannot be read"):
        TrainConfig.from_toml(file)


def test_a_layer_that_is_not_there_is_refused(info: BackboneInfo, shared_store) -> None:
    with pytest.raises(TrainingDataError, match=r"names layer 9 and .* has layers 1 to 4"):
        run(info, shared_store, layers=[9])


# --- checkpoints --------------------------------------------------------------------------------


def test_a_checkpoint_is_four_small_files_and_loads_identically(
    result: TrainResult, saved: Path
) -> None:
    assert sorted(f.name for f in saved.iterdir()) == [
        "manifest.json",
        "model_card.md",
        "posterior.safetensors",
        "reward_head.safetensors",
    ]
    loaded = checkpoint.load(saved)
    assert np.array_equal(loaded.head.value_weight, result.head.value_weight)
    assert loaded.head.readout == result.head.readout
    assert loaded.manifest["project"] == "planted"
    card = (saved / "model_card.md").read_text()
    assert "Held-out accuracy" in card
    correlation = result.metrics["reward_length_correlation"]
    assert f"| Correlation of reward and length | {correlation:.2f} (" in card
    older = {k: v for k, v in result.metrics.items() if k != "reward_length_correlation"}
    assert "Correlation" not in model_card(result.manifest | {"metrics": older})
    assert not list(saved.parent.glob("*.part"))


def test_a_checkpoint_is_never_overwritten(result: TrainResult, saved: Path) -> None:
    with pytest.raises(CheckpointError, match="exists already"):
        checkpoint.save(saved, result)


def test_a_run_that_dies_while_writing_leaves_no_checkpoint(
    result: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "_write", full_disk)
    with pytest.raises(CheckpointError, match="No space left"):
        checkpoint.save(tmp_path / "c", result)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".c.1.part").mkdir()
    assert checkpoint.remove_leftovers(tmp_path, set()) == [tmp_path / ".c.1.part"]


def test_damage_and_newer_formats_are_refused(saved: Path, tmp_path: Path) -> None:
    import shutil

    damaged = shutil.copytree(saved, tmp_path / "damaged")
    weights = bytearray((damaged / checkpoint.WEIGHTS).read_bytes())
    weights[-3] ^= 1
    (damaged / checkpoint.WEIGHTS).write_bytes(weights)
    with pytest.raises(CheckpointError, match="is damaged"):
        checkpoint.load(damaged)
    newer = shutil.copytree(saved, tmp_path / "newer")
    manifest = json.loads((newer / "manifest.json").read_text()) | {"format": 99}
    (newer / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="has format 99"):
        checkpoint.load(newer)
    with pytest.raises(CheckpointError, match="No checkpoint can be read"):
        checkpoint.load(tmp_path / "nowhere")


def test_a_backbone_that_changed_since_is_refused(
    result: TrainResult, info: BackboneInfo, tmp_path: Path
) -> None:
    other = build_tiny_backbone(tmp_path / "other", seed=5)
    manifest = result.manifest | {"backbone": result.manifest["backbone"] | {"spec": str(other)}}
    checkpoint.save(tmp_path / "c", replace(result, manifest=manifest))
    with pytest.raises(CheckpointError, match="restore that backbone or train again"):
        RewardModel.from_checkpoint(tmp_path / "c", backbones_dir=tmp_path / "b")


def test_a_checkpoint_finds_its_data_directory_s_backbones_else_the_user_s(
    result: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    data = tmp_path / "studio-data"
    (data / "backbones").mkdir(parents=True)
    for directory, kept in (
        (data / "checkpoints" / "run-1", data / "backbones"),
        (tmp_path / "alone", tmp_path / "home/.cache/reward-studio/backbones"),
    ):
        directory.parent.mkdir(exist_ok=True)
        checkpoint.save(directory, result)
        model = RewardModel.from_checkpoint(str(directory), device="cpu")
        assert list((kept / "described").iterdir())
        assert model.directory == directory


# --- scores -------------------------------------------------------------------------------------

TEXTS = [
    "An apple.",
    "",
    "  padded \n",
    "苹果和梨。",
    "👩‍👩‍👧 family",
    "def f(x):\n\treturn x\n",
    "مرحبا بالعالم",
    "a<|im_end|>b",
    "\n\n\n",
    "e\u0301\u0301",
]


@pytest.mark.parametrize("text", TEXTS)
def test_token_texts_join_to_the_response_and_shares_to_the_reward(
    model: RewardModel, text: str
) -> None:
    scored = model.token_scores(USER, text)
    assert "".join(t.text for t in scored.tokens) == text
    assert sum(t.contribution for t in scored.tokens) == pytest.approx(scored.reward, abs=1e-9)
    assert scored.tokens[-1].text == ""
    position = 0
    for token in scored.tokens:
        assert (token.start, text[token.start : token.end]) == (position, token.text)
        position = token.end
        assert sum(p["contribution"] for p in token.pieces) == pytest.approx(token.contribution)
    assert set(scored.as_dict()["tokens"][0]) == {
        "text",
        "start",
        "end",
        "value",
        "contribution",
        "pieces",
    }


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30))
def test_any_text_is_rejoined(model: RewardModel, text: str) -> None:
    scored = model.token_scores(USER, text)
    assert "".join(t.text for t in scored.tokens) == text
    assert sum(t.contribution for t in scored.tokens) == pytest.approx(scored.reward, abs=1e-9)


def test_scores_agree_with_the_features_that_were_trained_on(
    model: RewardModel, info: BackboneInfo, shared_store: FeatureStore
) -> None:
    pair = planted_pairs(120, heldout_every=3)[1]
    answers = [pair.answer_a, pair.answer_b]
    keys = shared_store.keys_for(info, "float32", TrainConfig().limits, answers)
    summaries = shared_store.summaries(keys, model.head.layer)
    stored = model.head.rewards(summaries.mean, summaries.end)
    fresh = model.score(pair.answer_a.prompt, [a.response for a in answers])
    np.testing.assert_allclose(fresh, stored, atol=1e-4)
    assert prompt_group(pair.answer_a.prompt) == pair.group


def test_company_and_order_change_no_score(model: RewardModel) -> None:
    together = model.score(USER, TEXTS)
    alone = [model.score(USER, [text])[0] for text in TEXTS]
    np.testing.assert_allclose(together, alone, atol=1e-4)
    np.testing.assert_allclose(model.score(USER, TEXTS[::-1]), together[::-1], atol=1e-4)


def test_probabilities_are_symmetric_and_survive_extremes(model: RewardModel) -> None:
    assert model.prob_better(1.0, 1.0) == 0.5
    assert model.prob_better(2.0, 1.0) + model.prob_better(1.0, 2.0) == pytest.approx(1.0)
    assert model.prob_better(-1e9, 1e9) == 0.0


def test_a_response_over_the_context_is_refused_with_both_numbers(model: RewardModel) -> None:
    with pytest.raises(AnswerError, match=r"context of .* is 4096"):
        model.score(USER, ["b" * 4090])
    with pytest.raises(AnswerError, match=r"5001 tokens and the context of .* is 4096; shorten it"):
        model.score(USER, ["b" * 5000])
    with pytest.raises(AnswerError, match=r"last turn .* the context of .* is 4096; shorten it"):
        model.score("b" * 5000, ["x"])


def test_text_prompts_are_one_user_turn(model: RewardModel) -> None:
    assert model.score("Question?", ["x"]) == model.score(USER, ["x"])


def test_a_checkpoint_knows_how_sure_it_is(
    result: TrainResult, saved: Path, model: RewardModel
) -> None:
    assert result.posterior is not None
    assert "posterior_sha256" in json.loads((saved / "manifest.json").read_text())
    mean, std = model.pair_uncertainty(USER, "eeee", "zzzz")
    better, worse = model.score(USER, ["eeee", "zzzz"])
    assert mean == pytest.approx(better - worse, abs=1e-5)
    assert std > 0
    assert model.pair_uncertainty(USER, "zzzz", "eeee") == pytest.approx((-mean, std), abs=1e-5)
    p, _ = model.prob_better_with_uncertainty(USER, "eeee", "zzzz")
    assert 0.5 < p < 1
    assert model.pair_uncertainty(USER, "eeee", "eeee") == pytest.approx((0, 0), abs=1e-3)
    p, _ = model.prob_better_with_uncertainty(USER, "eeee", "eeee")
    assert p == pytest.approx(0.5, abs=1e-4)


def test_a_checkpoint_without_its_posterior_scores_but_cannot_say_how_sure(
    result: TrainResult, tmp_path: Path
) -> None:
    checkpoint.save(tmp_path / "one", replace(result, posterior=None))
    bare = RewardModel.from_checkpoint(tmp_path / "one", backbones_dir=tmp_path / "b", device="cpu")
    assert bare.score(USER, ["eeee"])
    with pytest.raises(CheckpointError, match="saved without its posterior"):
        bare.pair_uncertainty(USER, "eeee", "zzzz")


def tied(pairs, every: int = 5):
    """Some of the pairs called a tie by everyone, others by one of four."""
    out = []
    for i, p in enumerate(pairs):
        if i % every == 1:
            p = replace(p, target=0.5, tie_share=1.0)
        elif i % every == 2:
            p = replace(p, target=0.875 if p.target else 0.125, tie_share=0.25, num_votes=4)
        out.append(p)
    return out


@pytest.mark.parametrize("ties", ["davidson", "rao-kupper"])
def test_a_model_of_ties_learns_how_often_people_tie(
    info: BackboneInfo, shared_store: FeatureStore, tmp_path: Path, ties
) -> None:
    pairs = tied(planted_pairs(120, heldout_every=3))
    result = run(info, shared_store, pairs, ties=ties)
    metrics = result.metrics
    assert metrics["ties"] == result.manifest["ties"] == ties
    assert metrics["tie_threshold"] == result.manifest["tie_threshold"]
    assert metrics["three_way_log_loss"] < metrics["three_way_chance"]
    checkpoint.save(tmp_path / "one", result)
    model = RewardModel.from_checkpoint(tmp_path / "one", backbones_dir=tmp_path, device="cpu")
    assert f"their own outcome (`{ties}`)" in (tmp_path / "one/model_card.md").read_text()
    even, far = model.prob_tie(1.0, 1.0), model.prob_tie(5.0, -5.0)
    assert even is not None
    assert far is not None
    assert 0 < far < even < 1
    assert model.prob_tie(1.0, 2.0) == pytest.approx(model.prob_tie(2.0, 1.0))


def test_without_ties_every_model_of_them_gives_the_same_head(
    result: TrainResult, info: BackboneInfo, shared_store: FeatureStore
) -> None:
    for ties in ("half", "davidson", "rao-kupper"):
        other = run(info, shared_store, ties=ties)
        assert np.array_equal(other.head.weights, result.head.weights)
        assert other.metrics["tie_threshold"] is None


def test_the_figures_say_what_was_fitted(result: TrainResult) -> None:
    metrics, manifest = result.metrics, result.manifest
    for name in ("layer", "readout", "objective", "penalty"):
        assert metrics[name] == manifest[name]
    assert manifest["config"] == TrainConfig().as_dict()
    assert metrics["log_loss_averaged"] < math.log(2)
    assert metrics["length_coefficient"] is None


def test_a_length_column_takes_upon_itself_what_length_explains(
    info: BackboneInfo, shared_store: FeatureStore
) -> None:
    rng = np.random.default_rng(0)
    pairs = []
    for p in planted_pairs(120, heldout_every=3):
        longer_wins = len(p.answer_a.response) > len(p.answer_b.response)
        target = float(longer_wins) if rng.random() < 0.7 else p.target
        pairs.append(replace(p, target=target))
    plain = run(info, shared_store, pairs)
    debiased = run(info, shared_store, pairs, length_column=True)
    assert debiased.metrics["length_coefficient"] > 0

    def leaning(result: TrainResult) -> float:
        by_length = result.metrics["by_length"]
        return by_length["chosen_longer"]["accuracy"] - by_length["chosen_shorter"]["accuracy"]

    assert leaning(debiased) < leaning(plain)
    assert debiased.posterior is not None
    assert debiased.posterior.width == len(debiased.head.weights)


def test_strength_asks_for_larger_leads(info: BackboneInfo, shared_store: FeatureStore) -> None:
    pairs = [replace(p, target_margin=1.0) for p in planted_pairs(60)]
    plain = run(info, shared_store, pairs, margin_scale=0.0, penalty=1.0)
    strong = run(info, shared_store, pairs, penalty=1.0)
    assert strong.metrics["num_target_margins"] == 60
    assert strong.metrics["reward_margin"] > plain.metrics["reward_margin"]


def test_coherent_tokens_rank_answers_before_their_ends(
    info: BackboneInfo, shared_store: FeatureStore
) -> None:
    token = run(info, shared_store, objective="token", token_weight=0.0)
    coherent = run(info, shared_store, objective="token_coherent", lookahead_weight=3.0)
    assert coherent.metrics["objective"] == "token_coherent"
    assert set(coherent.metrics["prefix_accuracy"]) == {"0.25", "0.5", "0.75", "1.0"}
    assert coherent.metrics["prefix_accuracy"]["1.0"] == coherent.metrics["accuracy"]
    assert coherent.metrics["prefix_accuracy"]["0.5"] >= token.metrics["prefix_accuracy"]["0.5"]


def test_answers_encoded_anew_give_nearly_the_same_head(
    result: TrainResult, info: BackboneInfo, tmp_path: Path
) -> None:
    pairs = planted_pairs(120, heldout_every=3)[::-1]  # another order: other packs
    other = run(info, FeatureStore(tmp_path / "anew"), pairs)
    np.testing.assert_allclose(other.head.weights, result.head.weights, rtol=0, atol=1e-4)
