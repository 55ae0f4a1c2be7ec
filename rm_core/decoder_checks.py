"""What a loaded decoder can do, found out by trying it: its final norm, its window, packing.

Nothing here trusts an architecture's name. A way of encoding is taken when it gives, on fixed
random ids, the numbers of answers encoded one at a time by the model as transformers loads it.
"""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any

from rm_core.tree import MIN_ROOT_TOKENS, Tree

if TYPE_CHECKING:
    import torch

    from rm_core.transformer import Backbone

log = logging.getLogger(__name__)

# Packed and plain must agree to this share of the states' own size.
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}

_NORM_NAMES = ("norm", "ln_f", "final_layernorm", "final_layer_norm", "final_norm", "layernorm")


def cut(config: Any, depth: int) -> None:
    """Let a config describe only its first `depth` layers."""
    full = config.num_hidden_layers
    config.num_hidden_layers = depth
    for name, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == full and name.endswith(("types", "layers")):
            setattr(config, name, value[:depth])


def window(config: Any) -> int | None:
    """The longest sequence that every layer sees whole, where windows or chunks limit it."""
    types = getattr(config, "layer_types", None)
    limits = [
        ("sliding", getattr(config, "sliding_window", None)),
        ("chunked", getattr(config, "attention_chunk_size", None)),
    ]
    biting = [
        int(size)
        for kind, size in limits
        if size and (types is None or any(kind in each for each in types))
    ]
    return min(biting, default=None)


def cache_argument(model: Any) -> str:
    """What the model calls its keys and values, given and returned: transformers 5 renamed them."""
    named = inspect.signature(model.forward).parameters
    return "cache" if "cache" in named else "past_key_values"


def find_norm(decoder: Any, device: str) -> Any:
    """The decoder's final norm, verified: normed raw states are the last hidden state."""
    import torch

    ids = torch.arange(3, 11, device=device)[None] % 64
    for place in (decoder, getattr(decoder, "decoder", None)):
        for name in _NORM_NAMES:
            norm = getattr(place, name, None)
            if not isinstance(norm, torch.nn.Module):
                continue
            raw: list[torch.Tensor] = []
            hook = norm.register_forward_pre_hook(lambda _, args, raw=raw: raw.append(args[0]))
            with torch.inference_mode():
                last = decoder(input_ids=ids, use_cache=False).last_hidden_state
            hook.remove()
            with torch.inference_mode():
                if raw and torch.allclose(norm(raw[-1]), last, atol=1e-5, rtol=1e-4):
                    return norm
    log.warning("no final norm found in %s: one layer a pass", type(decoder).__name__)
    return None


class PackingCheck:
    """Compares ways of encoding with answers encoded alone, on the same random trees."""

    def __init__(self, backbone: Backbone) -> None:
        import torch

        vocab = int(backbone.model.get_input_embeddings().num_embeddings)
        draw = torch.Generator().manual_seed(0)

        def ids(count: int) -> list[int]:
            return torch.randint(0, vocab, (count,), generator=draw).tolist()

        root = ids(MIN_ROOT_TOKENS)
        self.backbone = backbone
        self.trees = [
            Tree(root + ids(9), [ids(7), ids(4)]),
            Tree(root + ids(1), [ids(5)]),
            Tree(root + ids(3), [ids(1), ids(2), ids(8)]),
        ]
        self.fits = backbone.fits_window(self.trees)
        self.layers = [backbone.num_layers]
        if backbone.norm is not None and backbone.num_layers > 1:
            self.layers.append(backbone.num_layers // 2)
        self._alone = self._states("plain") if self.fits else []

    def agrees(self, attention: str) -> bool:
        """Whether the backbone gives the same numbers this way; the log says why not."""
        if not self.fits:
            return False
        try:
            packed = self._states(attention)
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
            log.warning("%s attention is not possible: %s", attention, error)
            return False
        worst = max(self._gap(a, b) for a, b in zip(packed, self._alone, strict=True))
        if not worst <= TOLERANCE[self.backbone.dtype]:  # a NaN is no agreement
            log.warning("%s attention differs by %.2g of the states' size", attention, worst)
            return False
        return True

    def _states(self, attention: str) -> list[dict[int, torch.Tensor]]:
        """Every branch's states; twice over, so that a kept root is used as well as made."""
        before, self.backbone.attention = self.backbone.attention, attention
        try:
            passes = [self.backbone.states(self.trees, self.layers) for _ in range(2)]
        finally:
            self.backbone.attention = before
        return [branch for trees in passes for branches in trees for branch in branches]

    def _gap(self, one: dict[int, torch.Tensor], other: dict[int, torch.Tensor]) -> float:
        """The largest difference, as a share of the states' size."""
        gaps = [
            (one[layer] - other[layer]).abs().max() / other[layer].abs().max().clamp(min=1e-6)
            for layer in self.layers
        ]
        return float(max(gaps))
