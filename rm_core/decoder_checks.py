"""What a loaded decoder can do, found out by trying it: its final norm, its window, packing.

Nothing here trusts an architecture's name. A way of encoding is taken when it gives, on fixed
random ids, the numbers of answers encoded one at a time by the model as transformers loads it.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from rm_core.errors import BackboneError
from rm_core.tree import MIN_ROOT_TOKENS, Tree

if TYPE_CHECKING:
    import torch

    from rm_core.transformer import Backbone

log = logging.getLogger(__name__)

# Packed and plain must agree to this share of the states' own size.
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}
# Rows so short that what is tried fills several, not all of them whole.
_TRIED_ROW_TOKENS = 32

# What transformers raises where a model does not do what most do.
TROUBLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)

# Where a config declares how far its layers look, under the names that transformers knows.
_WINDOWS = (
    "sliding_window",
    "sliding_window_size",
    "attention_chunk_size",
    "attention_window",
    "attention_window_size",
    "local_attention",
    "window_size",
    "index_topk",
)
# Kinds of layers whose window is all that a packed tree has to fit.
_KNOWN_TYPES = {"full_attention", "sliding_attention", "chunked_attention"}
# Packs are tried beyond windows up to this size: more would cost more than packing saves.
_MAX_TRIED_WINDOW = 1024


def cut(config: Any, depth: int) -> None:
    """Let a config describe only its first `depth` layers."""
    full = config.num_hidden_layers
    config.num_hidden_layers = depth
    for name, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == full and name.endswith(("types", "layers")):
            setattr(config, name, value[:depth])


def window(config: Any) -> int | None:
    """The longest sequence that every layer sees whole and alike; None without such a limit.

    Any declared window counts, unless every layer is said to attend to all; so does the length
    beyond which LongRoPE turns every position of a forward by other factors.
    """
    types = getattr(config, "layer_types", None)
    sizes = _long_rope_limits(getattr(config, "rope_parameters", None) or {})
    if types is None or set(types) != {"full_attention"}:
        declared = [getattr(config, name, None) for name in _WINDOWS]
        sizes += [size for size in declared if isinstance(size, int) and size > 0]
    return min(sizes, default=None)


def _long_rope_limits(parameters: dict[str, Any]) -> list[int]:
    """Original lengths of LongRoPE, of the model's or of each layer type's parameters."""
    parts = [parameters, *(part for part in parameters.values() if isinstance(part, dict))]
    named = [p for p in parts if p.get("rope_type") == "longrope"]
    return [int(p["original_max_position_embeddings"]) for p in named]


def unknown_layer_types(config: Any) -> list[str]:
    """Kinds of layers of which nobody here knows what they read of a packed sequence."""
    return sorted(set(getattr(config, "layer_types", None) or []) - _KNOWN_TYPES)


def cache_argument(model: Any) -> str:
    """What the model calls its keys and values, given and returned: transformers 5 renamed them."""
    named = inspect.signature(model.forward).parameters
    return "cache" if "cache" in named else "past_key_values"


def lost_weights(model: Any, decoder: Any, missing: Collection[str]) -> list[str]:
    """Names of the decoder's weights that no file held; a language-model head may be missing."""
    own = {id(parameter) for parameter in decoder.parameters()}
    named = model.named_parameters(remove_duplicate=False)
    return sorted(name for name, weight in named if id(weight) in own and name in missing)


def num_embeddings(decoder: Any) -> int:
    """How many token ids there are."""
    size = getattr(decoder.get_input_embeddings(), "num_embeddings", None)
    return int(size or decoder.config.get_text_config().vocab_size)


def _probe(device: str) -> torch.Tensor:
    """A few ids that every vocabulary has, [1, 8]."""
    import torch

    return torch.arange(3, 11, device=device)[None]


def find_decoder(model: Any, name: str, device: str) -> Any:
    """The part of a causal language model that gives hidden states, in evaluation mode.

    Raises:
        BackboneError: there is none that runs on token ids alone.
    """
    import torch
    from transformers import PreTrainedModel

    named = [model.get_decoder() if hasattr(model, "get_decoder") else None, model.base_model]
    parts = [p for p in [*named, *model.children()] if isinstance(p, PreTrainedModel)]
    reason = "it has no decoder"
    for part in dict.fromkeys(parts):
        part.eval().requires_grad_(False).to(device)
        try:
            with torch.inference_mode():
                states = part(input_ids=_probe(device), use_cache=False).last_hidden_state
            if states.shape[:2] == (1, 8):
                return part
            reason = f"its states have the shape {tuple(states.shape)}"
        except TROUBLE as error:
            reason = first_line(error)
    raise BackboneError(
        f"The backbone {name} ({type(model).__name__}) gives no hidden states of token ids alone: "
        f"{reason}; name a decoder-only language model, for example of the Llama, Qwen or Gemma "
        "families."
    )


def first_line(error: BaseException) -> str:
    """An exception in one line without a full stop."""
    lines = str(error).strip().splitlines()
    said = f": {lines[0][:300].rstrip('.')}" if lines else ""
    return type(error).__name__ + said


class Layers(NamedTuple):
    """A decoder's blocks, in order, and what comes behind the last."""

    blocks: Any
    norm: Any


def find_layers(decoder: Any, depth: int, device: str) -> Layers | None:
    """The decoder's `depth` blocks and its final norm, verified by their outputs.

    The norm is what makes the last hidden state of the last block's output, whatever its name; an
    identity for models that have none. None where no such pair is found: then only the last layer
    can be read, one pass a layer.
    """
    for blocks in _stacks(decoder, depth):
        norm = _norm_behind(decoder, blocks, device)
        if norm is not None:
            return Layers(blocks, norm)
    log.warning("no final norm found in %s: one pass a layer", type(decoder).__name__)
    return None


def _stacks(decoder: Any, depth: int) -> Iterator[Any]:
    """Lists of as many modules as there are layers, outer ones first."""
    import torch

    for module in decoder.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == depth:
            yield module


def _norm_behind(decoder: Any, blocks: Any, device: str) -> Any:
    """The module that turns the last block's output into the last hidden state, or None."""
    import torch

    inside = set(blocks.modules())
    outside = [m for m in decoder.modules() if m not in inside and blocks not in m.modules()]
    raw: list[torch.Tensor] = []
    called: list[Any] = []
    hooks = [blocks[-1].register_forward_hook(lambda _, __, out: raw.append(output_of(out)))]
    hooks += [m.register_forward_hook(lambda m, _, __: called.append(m)) for m in outside]
    try:
        with torch.inference_mode():
            last = decoder(input_ids=_probe(device), use_cache=False).last_hidden_state
    finally:
        for hook in hooks:
            hook.remove()
    if not raw or not isinstance(raw[-1], torch.Tensor):
        return None
    for norm in [torch.nn.Identity(), *reversed(called)]:
        try:
            with torch.inference_mode():
                found = norm(raw[-1])
        except TROUBLE:
            continue
        is_tensor = isinstance(found, torch.Tensor) and found.shape == last.shape
        if is_tensor and torch.allclose(found, last, atol=1e-5, rtol=1e-4):
            return norm
    return None


def output_of(out: Any) -> Any:
    """A block's hidden states, which some return first of several things."""
    return out[0] if isinstance(out, tuple | list) else out


class PackingCheck:
    """Compares ways of encoding with answers encoded alone, on the same random trees.

    Where a window limits what layers see, one more tree fits it and its pack does not.
    """

    def __init__(self, backbone: Backbone) -> None:
        import torch

        vocab = num_embeddings(backbone.model)
        draw = torch.Generator().manual_seed(0)

        def ids(count: int) -> list[int]:
            return torch.randint(0, vocab, (count,), generator=draw).tolist()

        root = ids(MIN_ROOT_TOKENS)
        self.backbone = backbone
        trees = [
            Tree(root + ids(9), [ids(7), ids(4)]),
            Tree(root + ids(1), [ids(5)]),
            Tree(root + ids(3), [ids(1), ids(2), ids(8)]),
        ]
        self.fits = backbone.fits_window(trees)
        # Twice the first, so that a kept root is used as well as made.
        self.packs = [trees, trees]
        size = backbone.window or 0
        if self.fits and 0 < size <= _MAX_TRIED_WINDOW:
            half, part = size // 2, size // 3
            self.packs.append([Tree(ids(half), [ids(part), ids(part)])])
        self.layers = [backbone.num_layers]
        if backbone.layers is not None and backbone.num_layers > 1:
            self.layers.append(backbone.num_layers // 2)
        self._alone = self._states("plain")

    def agrees(self, attention: str, way: str = "") -> bool:
        """Whether the backbone gives the same numbers this way; the log says why not.

        Args:
            way: what the log calls it.
        """
        way = way or f"{attention} attention"
        if not self.fits and attention != "plain":
            return False
        try:
            packed = self._states(attention)
        except BackboneError as error:
            log.warning("%s is not possible: %s", way, first_line(error.__cause__ or error))
            return False
        worst = max(self._gap(a, b) for a, b in zip(packed, self._alone, strict=True))
        if not worst <= TOLERANCE[self.backbone.dtype]:  # a NaN is no agreement
            log.warning("%s differs by %.2g of the states' size", way, worst)
            return False
        return True

    def _states(self, attention: str) -> list[dict[int, torch.Tensor]]:
        """Every branch's states."""
        backbone = self.backbone
        before = backbone.attention, backbone.row_tokens
        backbone.attention, backbone.row_tokens = attention, _TRIED_ROW_TOKENS
        try:
            passes = [backbone.states(pack, self.layers) for pack in self.packs]
        finally:
            backbone.attention, backbone.row_tokens = before
        return [branch for trees in passes for branches in trees for branch in branches]

    def _gap(self, one: dict[int, torch.Tensor], other: dict[int, torch.Tensor]) -> float:
        """The largest difference, as a share of the states' size."""
        gaps = [
            (one[layer] - other[layer]).abs().max() / other[layer].abs().max().clamp(min=1e-6)
            for layer in self.layers
        ]
        return float(max(gaps))
