"""Packed trees give the numbers of answers encoded alone, whatever the architecture."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from rm_core.backbone import BackboneInfo, prepare
from rm_core.conversation import Answer, ConversationEncoder, Limits
from rm_core.decoder_checks import find_decoder, window
from rm_core.encoding import EncodeProgress, encode_missing
from rm_core.errors import BackboneError
from rm_core.features import FeatureStore
from rm_core.streamline import restore, streamline
from rm_core.transformer import Tree, load
from rm_core.tree import lay_out_in_rows
from tests.tiny_backbone import build_tokenizer

COMMON = {
    "vocab_size": 320,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
}
GATED = {"intermediate_size": 64, "num_key_value_heads": 2}
SHAPES = {
    "llama": transformers.LlamaConfig(**COMMON, **GATED, tie_word_embeddings=False),
    "qwen2": transformers.Qwen2Config(**COMMON, **GATED, tie_word_embeddings=True),
    "qwen3": transformers.Qwen3Config(**COMMON, **GATED, head_dim=8),
    "gemma2-softcap": transformers.Gemma2Config(
        **COMMON, **GATED, head_dim=8, sliding_window=64, query_pre_attn_scalar=8
    ),
    "phi3": transformers.Phi3Config(**COMMON, **GATED, pad_token_id=0),
    "mistral-sliding": transformers.MistralConfig(**COMMON, **GATED, sliding_window=24),
    "gpt2": transformers.GPT2Config(
        vocab_size=320, n_embd=32, n_layer=4, n_head=4, n_positions=256
    ),
    "gpt-neox": transformers.GPTNeoXConfig(**COMMON, intermediate_size=64),
    "opt": transformers.OPTConfig(**COMMON, ffn_dim=64, word_embed_proj_dim=32),
}
TREES = [
    Tree(list(range(10, 22)), [list(range(30, 39)), list(range(50, 54)), [60]]),
    Tree([], [[5, 6, 7], [8]]),
    Tree([9, 10], [[11, 12, 13, 14]]),
]


@pytest.fixture(scope="module", params=SHAPES)
def shaped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    directory = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(SHAPES[request.param])
    model.save_pretrained(directory)
    build_tokenizer(directory)
    return model.eval(), prepare(str(directory), directory / "cache")


# The way that load() must choose on a CPU, of which the log tells.
WAYS = {"gemma2-softcap": "masked"}


def reference(model, prefix: list[int], branch: list[int], layer: int) -> torch.Tensor:
    """States of the branch by a model that was really cut to `layer` layers."""
    config = model.config.__class__.from_dict(model.config.to_dict())
    config.num_hidden_layers = layer
    for name, value in list(vars(config).items()):
        if name.endswith("types") and isinstance(value, list):
            setattr(config, name, value[:layer])
    cut = transformers.AutoModelForCausalLM.from_config(config)
    cut.load_state_dict(model.state_dict(), strict=False)
    with torch.inference_mode():
        out = cut.eval().get_decoder()(torch.tensor([prefix + branch])).last_hidden_state[0]
    return out[len(prefix) :]


def test_packed_states_are_those_of_a_model_cut_to_the_layer(
    shaped, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    model, info = shaped
    layers = [2, 3]
    with caplog.at_level(logging.INFO):
        backbone = load(info, device="cpu", num_layers=3)
    shape = request.node.callspec.params["shaped"]
    assert backbone.attention == WAYS.get(shape, "packed")
    assert f"to layer 3 on cpu in float32, attention {backbone.attention}" in caplog.text
    for tree, branches in zip(TREES, backbone.states(TREES, layers), strict=True):
        for branch, by_layer in zip(tree.branches, branches, strict=True):
            for layer in layers:
                expected = reference(model, tree.prefix, branch, layer)
                torch.testing.assert_close(by_layer[layer][1:], expected, atol=2e-5, rtol=1e-4)


def test_a_tree_longer_than_the_sliding_window_is_encoded_alone(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(SHAPES["mistral-sliding"]).eval()
    model.save_pretrained(tmp_path)
    build_tokenizer(tmp_path)
    backbone = load(prepare(str(tmp_path), tmp_path / "cache"), device="cpu", num_layers=4)
    assert backbone.attention == "packed"
    prefix, branch = list(range(10, 40)), list(range(40, 60))
    got = backbone.states([Tree(prefix, [branch, [7]])], [4])[0][0][4][1:]
    torch.testing.assert_close(got, reference(model, prefix, branch, 4), atol=2e-5, rtol=1e-4)


def test_grouping_and_order_change_nothing(info: BackboneInfo) -> None:
    backbone = load(info, device="cpu")
    together = backbone.states(TREES, [2, 4])
    for index, tree in enumerate(TREES):
        alone = backbone.states([tree], [2, 4])[0]
        turned = backbone.states([Tree(tree.prefix, tree.branches[::-1])], [2, 4])[0][::-1]
        for a, b, c in zip(together[index], alone, turned, strict=True):
            for layer in (2, 4):
                torch.testing.assert_close(a[layer], b[layer], atol=1e-5, rtol=1e-5)
                torch.testing.assert_close(a[layer], c[layer], atol=1e-5, rtol=1e-5)


def test_under_a_mask_the_numbers_are_the_same_however_the_rows_fall(info: BackboneInfo) -> None:
    alone = load(info, device="cpu")
    alone.attention = "plain"
    masked = load(info, device="cpu")
    masked.attention = "masked"
    for row_tokens in (1, 512):  # two rows as long as the longest tree, one with room left; one row
        masked.row_tokens = row_tokens
        before = masked.num_encoded
        for ours, theirs in zip(
            masked.states(TREES, [2, 4]), alone.states(TREES, [2, 4]), strict=True
        ):
            for one, other in zip(ours, theirs, strict=True):
                for layer in (2, 4):
                    torch.testing.assert_close(one[layer], other[layer], atol=1e-5, rtol=1e-5)
        assert masked.num_encoded - before == sum(tree.num_tokens for tree in TREES)


@given(
    sizes=st.lists(
        st.tuples(st.integers(0, 9), st.lists(st.integers(1, 9), min_size=1)), min_size=1
    ),
    width=st.integers(1, 40),
)
def test_rows_hold_whole_trees_and_little_else(
    sizes: list[tuple[int, list[int]]], width: int
) -> None:
    trees = [
        Tree(list(range(prefix)), [list(range(100 * i, 100 * i + n)) for n in branches])
        for i, (prefix, branches) in enumerate(sizes, 1)
    ]
    layout = lay_out_in_rows(trees, width)
    assert layout.num_tokens == sum(tree.num_tokens for tree in trees)
    assert len(layout.ids) == len(layout.positions) == layout.num_rows * layout.width
    for tree, places in zip(trees, layout.places, strict=True):
        assert [[layout.ids[p] for p in each[1:]] for each in places] == tree.branches
        used = {p // layout.width for each in places for p in each if p >= 0}
        assert len(used) == 1
    filled = [0] * layout.num_rows
    for segment in layout.segments:
        filled[segment.begin // layout.width] += segment.end - segment.begin
    # First fit: no two rows could have been one.
    assert len(filled) < 2 or sum(sorted(filled)[:2]) > layout.width


def test_what_prompts_begin_with_is_encoded_once(info: BackboneInfo) -> None:
    backbone = load(info, device="cpu")
    backbone.forget()
    system = list(range(100, 140))
    trees = [Tree([*system, 5 + i, 6], [[7, 8, i], [9]]) for i in range(4)]
    alone = load(info, device="cpu")
    alone.attention = "plain"
    before = backbone.num_encoded
    for part in (trees[:2], trees[2:], trees):  # made, kept, kept
        expected = alone.states(part, [2, 4])
        for ours, theirs in zip(backbone.states(part, [2, 4]), expected, strict=True):
            for one, other in zip(ours, theirs, strict=True):
                for layer in (2, 4):
                    torch.testing.assert_close(one[layer], other[layer], atol=1e-5, rtol=1e-5)
    assert backbone.num_shared == len(system)
    assert backbone.num_encoded - before == len(system) + 8 * 6
    # Prompts that share less of it cut it back; others leave it alone.
    shorter = [Tree([*system[:20], 1], [[2]]), Tree([*system[:20], 3], [[4]])]
    backbone.states(shorter, [4])
    assert backbone.num_shared == 20
    backbone.states([Tree([1, 2], [[3]]), Tree([4, 5], [[6]])], [4])
    assert backbone.num_shared == 20


def test_a_gated_norm_and_feed_forward_are_replaced_only_where_they_agree() -> None:
    import transformers.models.llama.modeling_llama as llama

    config = transformers.LlamaConfig(**COMMON, **GATED)
    norm, mlp = llama.LlamaRMSNorm(32), llama.LlamaMLP(config)
    torch.nn.init.uniform_(norm.weight)
    x = torch.randn(1, 7, 32)
    with torch.inference_mode():
        wanted = norm(x), mlp(x)
        replaced = streamline(torch.nn.ModuleList([norm, mlp]))
        assert replaced == [norm, mlp]
        torch.testing.assert_close(norm(x), wanted[0])
        torch.testing.assert_close(mlp(x), wanted[1], atol=1e-6, rtol=1e-5)
        restore(replaced)
        assert torch.equal(norm(x), wanted[0])
        assert "forward" not in vars(norm)

    class OffsetRMSNorm(llama.LlamaRMSNorm):
        def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
            return super().forward(hidden_states) * 2

    gelu = llama.LlamaMLP(transformers.LlamaConfig(**COMMON, **GATED, hidden_act="gelu"))
    assert streamline(torch.nn.ModuleList([OffsetRMSNorm(32), gelu])) == []


def test_row_zero_is_the_token_before_the_answer(info: BackboneInfo) -> None:
    backbone = load(info, device="cpu")
    with_prompt, without = backbone.states([Tree([9, 10], [[11]]), Tree([], [[9, 10, 11]])], [4])
    torch.testing.assert_close(with_prompt[0][4][0], without[0][4][2], atol=1e-5, rtol=1e-5)
    assert not without[0][4][0].any()


def build(config: transformers.PretrainedConfig, directory: Path) -> BackboneInfo:
    """A random model of this shape with our tokenizer, prepared."""
    torch.manual_seed(1)
    transformers.AutoModelForCausalLM.from_config(config).eval().save_pretrained(directory)
    build_tokenizer(directory)
    return prepare(str(directory), directory / "cache")


SMALL = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 4}
ATTENDING = SMALL | {"num_attention_heads": 4, "intermediate_size": 64, "pad_token_id": 0}
# Norms of other names, outputs of other kinds, no attention, no norm at all.
UNUSUAL = {
    "mamba": (transformers.MambaConfig(**SMALL, state_size=4), "plain"),
    "falcon-mamba": (transformers.FalconMambaConfig(**SMALL, state_size=4), "plain"),
    "rwkv": (
        transformers.RwkvConfig(**SMALL, attention_hidden_size=32, context_length=256),
        "plain",
    ),
    "mpt": (
        transformers.MptConfig(vocab_size=320, d_model=32, n_layers=4, n_heads=4, max_seq_len=256),
        "plain",
    ),
    "openai-gpt": (
        transformers.OpenAIGPTConfig(
            vocab_size=320, n_embd=32, n_layer=4, n_head=4, n_positions=256
        ),
        "plain",
    ),
    "xglm": (
        transformers.XGLMConfig(
            vocab_size=320, d_model=32, ffn_dim=64, num_layers=4, attention_heads=4
        ),
        "masked",
    ),
    "xlm": (
        transformers.XLMConfig(
            vocab_size=320,
            emb_dim=32,
            n_layers=4,
            n_heads=4,
            max_position_embeddings=256,
            causal=True,
        ),
        "plain",
    ),
    "lfm2": (
        transformers.Lfm2Config(
            **ATTENDING, num_key_value_heads=2, layer_types=["conv", "full_attention"] * 2
        ),
        "plain",
    ),
    "llama4": (
        transformers.Llama4TextConfig(
            **ATTENDING,
            intermediate_size_mlp=64,
            num_key_value_heads=2,
            head_dim=8,
            num_local_experts=2,
        ),
        "packed",
    ),
    "modernbert-decoder": (
        transformers.ModernBertDecoderConfig(
            **ATTENDING,
            local_attention=64,
            bos_token_id=1,
            eos_token_id=2,
            cls_token_id=1,
            sep_token_id=2,
        ),
        None,
    ),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_two_layers_of_one_pass_are_the_last_ones_of_models_cut_there(
    name: str, tmp_path: Path
) -> None:
    config, attention = UNUSUAL[name]
    info = build(config, tmp_path)
    backbone = load(info, device="cpu", num_layers=3)
    assert attention is None or backbone.attention == attention
    cut = {layer: load(info, device="cpu", num_layers=layer) for layer in (2, 3)}
    assert backbone.reads([2, 3])
    for tree, branches in zip(TREES, backbone.states(TREES, [2, 3]), strict=True):
        for branch, by_layer in zip(tree.branches, branches, strict=True):
            for layer, deep in cut.items():
                deep.attention = "plain"
                alone = deep.states([Tree(tree.prefix, [branch])], [layer])[0][0][layer]
                torch.testing.assert_close(by_layer[layer], alone, atol=2e-5, rtol=1e-4)


def test_an_architecture_that_cannot_be_packed_falls_back_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    info = build(UNUSUAL["mpt"][0], tmp_path)
    backbone = load(info, device="cpu")
    assert backbone.attention == "plain"
    assert "masked attention differs by" in caplog.text


def test_a_layer_whose_norm_is_not_found_is_encoded_in_a_pass_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Behind the norm stands a projection: no module of one name makes the last hidden state.
    shape = {**COMMON, "ffn_dim": 64, "word_embed_proj_dim": 16}
    info = build(transformers.OPTConfig(**shape), tmp_path / "b")
    store = FeatureStore(tmp_path / "f")
    answers = [Answer([{"role": "user", "content": "?"}], text) for text in ("one", "two", "")]
    seen: list[EncodeProgress] = []
    report = encode_missing(
        store,
        info,
        answers,
        layers=[3, 2],
        limits=Limits(),
        device="cpu",
        on_progress=seen.append,
    )
    assert (report.num_encoded, report.num_cached) == (3, 0)
    assert "no final norm found in OPTDecoder: one pass a layer" in caplog.text
    assert [seen[-1].done, seen[-1].total] == [3, 3]
    keys = store.keys_for(info, "float32", Limits(), answers)
    for layer in (2, 3):
        backbone = load(info, device="cpu", num_layers=layer)
        assert not backbone.reads([1, layer])
        encoder = ConversationEncoder(backbone.tokenizer, info, Limits())
        ids = encoder.answer(encoder.prompt(answers[0].prompt), "one").input_ids
        alone = backbone.states([Tree([], [ids])], [layer])[0][0][layer][-1]
        end = torch.from_numpy(store.summaries(keys, layer).end[0].copy())
        torch.testing.assert_close(end, alone, atol=2e-5, rtol=1e-4)


def test_a_window_under_another_layer_type_s_name_counts_and_such_layers_are_not_packed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = transformers.DeepseekV4Config(
        **ATTENDING,
        head_dim=8,
        num_key_value_heads=1,
        moe_intermediate_size=32,
        n_routed_experts=4,
        num_experts_per_tok=2,
        q_lora_rank=8,
        qk_rope_head_dim=8,
        sliding_window=64,
        max_position_embeddings=512,
    )
    assert window(config) == 64
    full = transformers.Qwen3Config(**COMMON, **GATED, head_dim=8, use_sliding_window=False)
    full.sliding_window = 24
    assert window(full) is None  # every layer is said to attend to all
    assert window(transformers.GPTNeoConfig(window_size=48)) == 48
    backbone = load(build(config, tmp_path), device="cpu", num_layers=3)
    assert backbone.attention == "plain"
    assert "answers are encoded alone" in caplog.text


def test_a_long_answer_does_not_turn_the_positions_of_its_pack(tmp_path: Path) -> None:
    config = transformers.Phi3Config(
        **COMMON,
        **GATED,
        pad_token_id=0,
        original_max_position_embeddings=64,
        rope_scaling={
            "rope_type": "longrope",
            "short_factor": [1.0] * 4,
            "long_factor": [4.0] * 4,
        },
    )
    info = build(config, tmp_path)
    backbone, alone = (load(info, device="cpu") for _ in range(2))
    assert (backbone.attention, backbone.window) == ("packed", 64)
    alone.attention = "plain"
    trees = [Tree(list(range(10, 30)), [[40, 41], [42]]), Tree(list(range(10, 90)), [[5] * 9])]
    for ours, theirs in zip(backbone.states(trees, [4]), alone.states(trees, [4]), strict=True):
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one[4], other[4], atol=2e-5, rtol=1e-4)


def test_a_model_that_gives_no_hidden_states_of_ids_is_one_clear_error() -> None:
    vision = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64
    )
    with pytest.raises(
        BackboneError, match=r"sight \(ViTModel\) gives no hidden .*; name a decoder"
    ):
        find_decoder(transformers.ViTModel(vision), "sight", "cpu")


def test_a_forward_that_fails_is_one_clear_error(tmp_path: Path) -> None:
    config = transformers.GPT2Config(vocab_size=320, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    backbone = load(build(config, tmp_path), device="cpu")
    with pytest.raises(BackboneError, match=r"failed on 90 tokens: IndexError: .*; if memory ran"):
        backbone.states([Tree([], [[5] * 90])], [2])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"num_layers": 9}, "Layer 9 was asked for and .* has 4"),
        ({"dtype": "float8"}, "dtype 'float8' is not known"),
        ({"device": "warp"}, "No device is called 'warp'"),
    ],
)
def test_loading_with_wrong_settings_says_which(info: BackboneInfo, asked, message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        load(info, **({"device": "cpu"} | asked))


def test_damaged_weights_are_one_clear_error(info: BackboneInfo, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(info.directory, copy)
    (copy / "model.safetensors").write_bytes(b"not a tensor file")
    with pytest.raises(BackboneError, match="cannot be loaded"):
        load(replace(info, directory=str(copy)), device="cpu")


def test_a_backbone_that_lacks_weights_is_refused_and_not_filled_up_at_random(
    info: BackboneInfo, tmp_path: Path
) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    copy = tmp_path / "copy"
    shutil.copytree(info.directory, copy)
    weights = load_file(copy / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "layers.1.mlp" not in name}
    assert len(kept) < len(weights)
    save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})
    damaged = replace(info, directory=str(copy))
    with pytest.raises(BackboneError, match=r"lacks 3 of its weights, model\.layers\.1\.mlp"):
        load(damaged, device="cpu")
    load(damaged, device="cpu", num_layers=1)  # the part that is read is whole
