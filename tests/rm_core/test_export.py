"""An export loads unmodified wherever reward models are loaded, and gives the studio's rewards."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from rm_core import checkpoint
from rm_core.backbone import prepare
from rm_core.errors import ExportError
from rm_core.export import ExportReport, export_model
from rm_core.heads import Readout, RewardHead
from rm_core.scoring import RewardModel
from rm_core.training import TrainResult
from tests.tiny_backbone import CHATML, build_tokenizer

COMMON: dict[str, Any] = {
    "vocab_size": 352,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GATED: dict[str, Any] = {"intermediate_size": 64, "num_key_value_heads": 2}
SHAPES: dict[str, Callable[[], Any]] = {
    "llama": lambda: transformers.LlamaConfig(**COMMON, **GATED, tie_word_embeddings=True),
    "qwen2": lambda: transformers.Qwen2Config(
        **COMMON, **GATED, use_sliding_window=True, sliding_window=64, max_window_layers=2
    ),
    "qwen3": lambda: transformers.Qwen3Config(**COMMON, **GATED, head_dim=8),
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=320, n_embd=32, n_layer=4, n_head=4, n_positions=512, eos_token_id=2
    ),
    "opt": lambda: transformers.OPTConfig(
        **COMMON, ffn_dim=64, word_embed_proj_dim=32, pad_token_id=0
    ),
}
MESSAGES = [
    {"role": "user", "content": "Name a fruit."},
    {"role": "assistant", "content": "An apple, the 苹果."},
]


@dataclass(frozen=True)
class Exported:
    """A checkpoint and what became of it."""

    checkpoint: Path
    out: Path
    report: ExportReport
    model: RewardModel


def build_backbone(
    directory: Path, shape: str, template: str | None = CHATML, **tokens: str
) -> Path:
    """A random backbone; `tokens` are special tokens of its tokenizer's configuration."""
    torch.manual_seed(3)
    model = transformers.AutoModelForCausalLM.from_config(SHAPES[shape]())
    model.save_pretrained(directory)
    build_tokenizer(directory, chat_template=template)
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | tokens))
    return directory


def save_head(directory: Path, backbone: Path, readout: Readout, layer: int = 2) -> Path:
    """A checkpoint of a random head, as training would save it."""
    info = prepare(str(backbone), directory.parent / "backbones")
    draw = np.random.default_rng(5)
    end = draw.normal(size=32) if readout == "mean+last" else None
    head = RewardHead(readout, layer, draw.normal(size=32), end)
    slices = {"accuracy": 0.7, "pairs": 5}
    metrics = {
        "accuracy": 0.7 if readout == "last" else 0.75,
        "accuracy_ci": [0.6, 0.8],
        "evaluation": "heldout",
        "log_loss": 0.6,
        "brier": 0.2,
        "ece": None,
        "left_out": {},
        "num_train_pairs": 10,
        "num_train_prompts": 10,
        "pairs": 10,
        "prompts": 10,
        "by_length": {"chosen_shorter": slices, "chosen_longer": slices},
    }
    manifest = {
        "format": 1,
        "backbone": {
            "spec": info.spec,
            "name": info.name,
            "revision": info.revision,
            "fingerprint": info.fingerprint("float32"),
            "dtype": "float32",
            "num_layers": info.num_layers,
            "hidden_size": info.hidden_size,
        },
        "layer": layer,
        "readout": readout,
        "objective": "outcome",
        "penalty": 1.0,
        "calibration_scale": 1.0,
        "metrics": metrics,
    }
    checkpoint.save(directory, TrainResult(head, metrics, [], manifest))
    return directory


def export(root: Path, backbone: Path, readout: Readout, *, with_last: bool = True) -> Exported:
    source = save_head(root / f"head-{readout}", backbone, readout)
    last = None
    if readout != "last" and with_last:
        last = save_head(root / "head-last", backbone, "last", layer=3)
    out = root / "out"
    backbones = root / "backbones"
    report = export_model(source, out, backbones_dir=backbones, last_checkpoint=last, device="cpu")
    model = RewardModel.from_checkpoint(source, backbones_dir=backbones, device="cpu")
    return Exported(source, out, report, model)


@pytest.fixture(scope="module", params=SHAPES)
def shaped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A `last` head on every shape; padding and end of turn are one token, as in SmolLM2."""
    root = tmp_path_factory.mktemp(request.param)
    backbone = build_backbone(root / "backbone", request.param, pad_token="<|im_end|>")
    return export(root, backbone, "last")


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def exact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A `mean+last` head with the `last` head fitted beside it."""
    root = tmp_path_factory.mktemp(request.param)
    return export(root, build_backbone(root / "backbone", request.param), "mean+last")


def rendered(directory: Path, **options: Any) -> tuple[Any, str]:
    tokenizer = AutoTokenizer.from_pretrained(directory, **options)
    return tokenizer, tokenizer.apply_chat_template(MESSAGES, tokenize=False)


def studio_reward(model: RewardModel) -> float:
    return model.score(MESSAGES[:1], [MESSAGES[1]["content"]])[0]


def test_the_directory_is_what_every_consumer_expects(shaped: Exported) -> None:
    config = json.loads((shaped.out / "config.json").read_text())
    assert config["architectures"] == [shaped.report.directories[0].architecture]
    assert config["architectures"][0].endswith("ForSequenceClassification")
    assert config["id2label"] == {"0": "LABEL_0"}
    assert config["problem_type"] == "regression"
    assert config["token_classification_bias"] is False
    assert config["pad_token_id"] not in (None, config["eos_token_id"])
    assert config.get("num_hidden_layers", config.get("n_layer")) == 2
    assert len(config.get("layer_types") or [0, 0]) == 2
    assert str(shaped.out.parent) not in json.dumps(config)
    tensors = load_torch(shaped.out / "model.safetensors")
    assert tensors["score.weight"].shape == (1, 32)
    assert "score.bias" not in tensors
    assert not any("lm_head" in name or ".2." in name for name in tensors)
    template = (shaped.out / "chat_template.jinja").read_text()
    assert template == shaped.model.info.scoring_template
    for name in ("reward_head.safetensors", "manifest.json"):
        assert (shaped.out / name).read_bytes() == (shaped.checkpoint / name).read_bytes()
    assert not list(shaped.out.parent.glob(".*.part"))


def test_the_sequence_classifier_gives_the_studios_reward(shaped: Exported) -> None:
    tokenizer, text = rendered(shaped.out)
    assert text.endswith("<|im_end|>")  # the backbone's own template ends in a newline
    model, loading = AutoModelForSequenceClassification.from_pretrained(
        shaped.out, output_loading_info=True
    )
    assert not loading["missing_keys"]
    assert model.num_labels == 1
    expected = studio_reward(shaped.model)
    longer = text.replace("Name a fruit.", "Name a fruit that is red and round." * 3)
    for side in ("right", "left"):
        batch = tokenizer([text, longer], return_tensors="pt", padding=True, padding_side=side)
        assert set(batch) == {"input_ids", "attention_mask"}
        with torch.inference_mode():
            padded = model(**batch).logits
        if side == "right" or shaped.report.directories[0].check.left_padding:
            assert padded[0, 0].item() == pytest.approx(expected, abs=1e-4)


def test_left_padding_is_exact_wherever_positions_are_relative(shaped: Exported) -> None:
    [one] = shaped.report.directories
    is_absolute = one.architecture.startswith("GPT2")
    assert one.check.left_padding is not is_absolute
    assert AutoTokenizer.from_pretrained(shaped.out).padding_side == "right"
    assert any("pad on the right" in limit for limit in one.limits) is is_absolute


def test_the_same_directory_is_a_token_classifier_with_exact_values(shaped: Exported) -> None:
    [one] = shaped.report.directories
    if one.token_architecture is None:
        assert one.architecture == "OPTForSequenceClassification"
        assert any("token classification" in limit for limit in one.limits)
        return
    tokenizer, text = rendered(shaped.out)
    model, loading = AutoModelForTokenClassification.from_pretrained(
        shaped.out, output_loading_info=True
    )
    assert not loading["missing_keys"]
    with torch.inference_mode():
        values = model(**tokenizer(text, return_tensors="pt")).logits[0, :, 0].tolist()
    scored = shaped.model.token_scores(MESSAGES[:1], MESSAGES[1]["content"])
    wanted = [piece["value"] for token in scored.tokens for piece in token.pieces]
    assert values[-len(wanted) :] == pytest.approx(wanted, abs=1e-4)


def test_the_pipeline_gives_the_raw_reward(shaped: Exported) -> None:
    _, text = rendered(shaped.out)
    classify = transformers.pipeline("text-classification", model=str(shaped.out), device="cpu")
    [answer] = classify(text)
    assert answer["score"] == pytest.approx(studio_reward(shaped.model), abs=1e-4)


def test_the_report_counts_what_was_compared_and_is_json(shaped: Exported) -> None:
    [one] = shaped.report.directories
    assert (one.kind, one.directory, one.readout, one.layer) == ("standard", ".", "last", 2)
    assert one.check.num_rewards >= 32
    assert one.check.max_difference <= one.check.tolerance < 0.01 * one.check.reward_spread
    json.dumps(shaped.report.as_json(), allow_nan=False)
    assert "accuracy 70.0 %" in shaped.report.as_text()
    assert "70.0 %" in (shaped.out / "README.md").read_text()


def test_another_readout_gives_a_last_head_and_an_exact_directory(exact: Exported) -> None:
    standard, own = exact.report.directories
    assert (standard.kind, standard.readout, standard.layer) == ("standard", "last", 3)
    assert (own.kind, own.directory, own.readout) == ("exact", "exact", "mean+last")
    assert (exact.report.accuracy, standard.accuracy, own.accuracy) == (0.75, 0.7, 0.75)
    readme = (exact.out / "README.md").read_text()
    assert "accuracy 70.0 %" in readme
    assert "accuracy 75.0 %" in readme
    assert load_file(exact.out / "exact" / "reward_head.safetensors").keys() == {
        "value_weight",
        "end_weight",
    }
    own_config = json.loads((exact.out / "exact" / "config.json").read_text())
    assert own_config["backbone_config"].get("num_hidden_layers", 2) == 2
    assert str(exact.out.parent) not in json.dumps(own_config)


def load_exact(exported: Exported) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(
        exported.out / "exact", trust_remote_code=True
    )


def test_the_exact_directory_gives_reward_and_shares_on_either_padding(exact: Exported) -> None:
    model = load_exact(exact)
    tokenizer, text = rendered(exact.out / "exact", trust_remote_code=True)
    longer = text.replace("Name a fruit.", "Name a fruit that is red and round." * 3)
    scored = exact.model.token_scores(MESSAGES[:1], MESSAGES[1]["content"])
    shares = [piece["contribution"] for token in scored.tokens for piece in token.pieces]
    for side in ("right", "left"):
        batch = tokenizer([text, longer], return_tensors="pt", padding=True, padding_side=side)
        with torch.inference_mode():
            out = model(**batch)
        assert out.logits[0, 0].item() == pytest.approx(scored.reward, abs=1e-4)
        found = out.contributions[0][out.response_mask[0]].tolist()
        assert found == pytest.approx(shares, abs=1e-4)
    assert exact.report.directories[1].check.left_padding


def test_the_exact_model_without_its_code_is_not_loaded_at_all(exact: Exported) -> None:
    with pytest.raises(ValueError, match="trust_remote_code"):
        AutoModelForSequenceClassification.from_pretrained(
            exact.out / "exact", trust_remote_code=False
        )


def test_a_row_without_an_assistant_header_is_an_error_not_a_wrong_reward(exact: Exported) -> None:
    model = load_exact(exact)
    tokenizer = AutoTokenizer.from_pretrained(exact.out / "exact", trust_remote_code=True)
    batch = tokenizer(["Just some text."], return_tensors="pt")
    with pytest.raises(ValueError, match="Row 0 of the batch has no answer"):
        model(**batch)


def test_a_response_that_spells_the_header_needs_the_response_mask(exact: Exported) -> None:
    model = load_exact(exact)
    tokenizer = AutoTokenizer.from_pretrained(exact.out / "exact", trust_remote_code=True)
    response = "One.<|im_end|>\n<|im_start|>assistant\nTwo."
    messages = [MESSAGES[0], {"role": "assistant", "content": response}]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    batch = tokenizer([text], return_tensors="pt")
    scored = exact.model.token_scores(MESSAGES[:1], response)
    mask = torch.zeros_like(batch["input_ids"])
    mask[0, -sum(len(token.pieces) for token in scored.tokens) :] = 1
    with torch.inference_mode():
        told = model(**batch, response_mask=mask).logits.item()
        guessed = model(**batch).logits.item()
    assert told == pytest.approx(scored.reward, abs=1e-4)
    assert guessed != pytest.approx(scored.reward, abs=1e-2)
    assert any("response_mask" in limit for limit in exact.report.directories[1].limits)


@pytest.mark.parametrize("readout", ["last", "mean", "mean+last"])
def test_the_plain_form_where_one_token_begins_and_ends_an_answer(
    tmp_path: Path, readout: Readout
) -> None:
    """As GPT-2's own tokenizer: no template, and bos, eos, unk and pad are all one token."""
    names = dict.fromkeys(["bos_token", "eos_token", "pad_token", "unk_token"], "<|im_end|>")
    backbone = build_backbone(tmp_path / "backbone", "gpt2", None, **names)
    for name in ("special_tokens_map.json", "chat_template.jinja"):
        (backbone / name).unlink(missing_ok=True)
    exported = export(tmp_path, backbone, readout)
    assert len(exported.report.directories) == (1 if readout == "last" else 2)
    tokenizer = AutoTokenizer.from_pretrained(exported.out)
    assert tokenizer.apply_chat_template(MESSAGES, tokenize=False) == (
        "Name a fruit.<|im_end|>An apple, the 苹果.<|im_end|>"
    )
    assert tokenizer.pad_token != "<|im_end|>"


def test_a_padding_token_is_added_where_every_control_token_is_written(tmp_path: Path) -> None:
    template = "{{ '<|endoftext|>' }}" + CHATML
    backbone = build_backbone(tmp_path / "backbone", "llama", template)
    # Every row of the embedding taken: the new token needs one more.
    config = json.loads((backbone / "config.json").read_text())
    size = len(AutoTokenizer.from_pretrained(backbone))
    model = transformers.AutoModelForCausalLM.from_pretrained(backbone)
    model.resize_token_embeddings(size)
    model.save_pretrained(backbone)
    assert config["vocab_size"] > size
    exported = export(tmp_path, backbone, "mean+last")
    for directory, trusted in (("", False), ("exact", True)):
        tokenizer = AutoTokenizer.from_pretrained(
            exported.out / directory, trust_remote_code=trusted
        )
        assert tokenizer.pad_token == "<|pad|>"
        assert tokenizer.pad_token_id == size


def test_a_tokenizer_that_adds_a_first_token_by_itself_is_shipped_without(tmp_path: Path) -> None:
    backbone = build_backbone(tmp_path / "backbone", "llama", "{{ bos_token }}" + CHATML)
    file = backbone / "tokenizer.json"
    fields = json.loads(file.read_text())
    fields["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}},
                   {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            "<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}
        },
    }  # fmt: skip
    file.write_text(json.dumps(fields))
    assert AutoTokenizer.from_pretrained(backbone)("a")["input_ids"][0] == 1
    exported = export(tmp_path, backbone, "last")
    tokenizer, text = rendered(exported.out)
    assert tokenizer(text)["input_ids"] == tokenizer(text, add_special_tokens=False)["input_ids"]


INSTRUCT = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}"
    "{% else %}{{ raise_exception('no system turns') }}{% endif %}{% endfor %}"
)


def build_pieces_tokenizer(directory: Path) -> None:
    """As sentencepiece tokenizers are: ▁ for spaces, bytes where a character is not known."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    letters = "▁[]/." + "".join(chr(c) for c in [*range(65, 91), *range(97, 123)])
    names = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *letters]
    merges = [("▁", "t"), ("▁", "["), ("]", "▁"), ("I", "N"), ("S", "T")]
    vocab = {name: i for i, name in enumerate([*names, *(a + b for a, b in merges)])}
    pieces = Tokenizer(
        models.BPE(vocab=vocab, merges=merges, byte_fallback=True, unk_token="<unk>")
    )
    pieces.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    pieces.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback()])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        unk_token="<unk>",
        chat_template=INSTRUCT,
    ).save_pretrained(directory)


def test_a_plain_text_header_that_merges_with_the_answer_is_found_too(tmp_path: Path) -> None:
    backbone = build_backbone(tmp_path / "backbone", "llama")
    build_pieces_tokenizer(backbone)
    exported = export(tmp_path, backbone, "mean+last")
    [own] = [one for one in exported.report.directories if one.kind == "exact"]
    assert own.check.num_rewards >= 32
    assert any("does not end in a user turn" in limit for limit in own.limits)
    config = json.loads((exported.out / "exact" / "config.json").read_text())
    assert config["response_header"] == " [/INST] "


def test_a_template_without_anything_before_an_answer_is_refused_for_a_mean(
    tmp_path: Path,
) -> None:
    bare = "{% for m in messages %}{{ m['content'] + '<|im_end|>' }}{% endfor %}"
    backbone = build_backbone(tmp_path / "backbone", "llama", bare)
    frameless = "{% for m in messages %}{{ m['content'] }}{% endfor %}<|im_end|>"
    other = build_backbone(tmp_path / "frameless", "llama", frameless)
    assert export(tmp_path, backbone, "mean").report.directories[-1].kind == "exact"
    with pytest.raises(ExportError, match="writes only '' before an answer"):
        export(tmp_path / "second", other, "mean")
    assert not (tmp_path / "second" / "out").exists()


def test_without_a_last_head_only_the_exact_directory_is_written(tmp_path: Path) -> None:
    backbone = build_backbone(tmp_path / "backbone", "llama")
    exported = export(tmp_path, backbone, "mean", with_last=False)
    assert [one.kind for one in exported.report.directories] == ["exact"]
    assert "takes a `last` head" in (exported.report.why_not_standard or "")
    assert [child.name for child in exported.out.iterdir()] == ["exact"]


def test_a_family_without_a_classification_class_is_exported_exactly(tmp_path: Path) -> None:
    torch.manual_seed(3)
    config = transformers.GraniteConfig(**COMMON, **GATED, pad_token_id=0)
    backbone = tmp_path / "backbone"
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(backbone)
    build_tokenizer(backbone)
    exported = export(tmp_path, backbone, "last")
    assert [one.kind for one in exported.report.directories] == ["exact"]
    assert "no sequence classification class for granite" in (
        exported.report.why_not_standard or ""
    )


def test_an_existing_directory_is_not_touched(exact: Exported, tmp_path: Path) -> None:
    (tmp_path / "keep").write_text("mine")
    with pytest.raises(ExportError, match="exists already"):
        export_model(exact.checkpoint, tmp_path, backbones_dir=tmp_path)
    assert [child.name for child in tmp_path.iterdir()] == ["keep"]


@pytest.mark.parametrize("what", ["rewards", "token", "ids"])
def test_an_export_that_differs_is_an_error_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The weights, the token head or the template spoilt behind the writer's back."""
    from rm_core.export import writing

    backbone = build_backbone(tmp_path / "backbone", "gpt2")
    source = save_head(tmp_path / "head", backbone, "last")
    save = writing._save

    def spoilt(model: Any, target: Path, tensors: dict[str, torch.Tensor]) -> None:
        name = {"rewards": "score.weight", "token": "classifier.weight"}.get(what)
        save(model, target, tensors | {name: tensors[name] * 1.01} if name else tensors)

    monkeypatch.setattr(writing, "_save", spoilt)
    if what == "ids":
        monkeypatch.setattr(
            writing,
            "_copy_files",
            lambda target, model: (target / "chat_template.jinja").write_text(CHATML),
        )
    message = {"token": "token by token", "ids": "exported tokenizer gives"}.get(
        what, "studio gives"
    )
    with pytest.raises(ExportError, match=message):
        export_model(source, tmp_path / "out", backbones_dir=tmp_path / "backbones", device="cpu")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_place_that_cannot_be_written_is_one_clear_error(exact: Exported, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot be written"):
        export_model(
            exact.checkpoint, tmp_path / "file" / "out", backbones_dir=tmp_path / "backbones"
        )
