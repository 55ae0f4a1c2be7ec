"""Attention over packed trees: each segment against what it may see, and nothing else.

A mask over the whole pack would cost N x N, most of it hidden: with answers of a hundred tokens
that is a sixth of a forward's time. Here every prefix and every branch (rm_core.tree.Segment) is
one small call of torch's own kernel over root, prefix and own tokens. transformers hands its
queries, keys and values, rotated already, to whatever function is registered under the name of the
model's attention implementation, so this works for every architecture that uses that interface
and plain `sdpa`; `rm_core.transformer.load` verifies the numbers for the very model it loads.

    install(decoder)                       # False: the model does not use the interface
    with planned(Plan(layout.segments, root)):
        decoder(input_ids=..., position_ids=..., attention_mask=no_mask(...))

Without a plan it does what `sdpa` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rm_core.tree import Layout, Segment

if TYPE_CHECKING:
    import torch

NAME = "reward_studio_tree"

KeysValues = tuple["torch.Tensor", "torch.Tensor"]
"""[1, num_key_value_heads, tokens, head size], twice."""

# What an attention layer may pass that changes nothing here, or nothing within its window.
_HARMLESS = {
    "cache_position",
    "is_causal",
    "output_attentions",
    "output_hidden_states",
    "position_ids",
    "sliding_window",
    "use_cache",
}


@dataclass
class Plan:
    """Which rows see which, for one forward.

    Attributes:
        segments: of the flat sequence.
        root: layer index -> keys and values of the tokens before every tree.
        kept: where given, layer index -> this forward's own keys and values are left here.
    """

    segments: Sequence[Segment]
    root: dict[int, KeysValues] = field(default_factory=dict)
    kept: dict[int, KeysValues] | None = None
    _masks: dict[tuple[int, int], torch.Tensor] = field(default_factory=dict)

    def mask(self, num_queries: int, num_keys: int, like: torch.Tensor) -> torch.Tensor | None:
        """Additive [queries, keys], causal from the lower right corner; None: from the upper left.

        Where both are as long the two are the same, and the kernel skips what is hidden.
        """
        import torch

        shape = (num_queries, num_keys)
        if num_queries == num_keys:
            return None
        if shape not in self._masks:
            hidden = torch.full(shape, -torch.inf, dtype=like.dtype, device=like.device)
            self._masks[shape] = hidden.triu_(1 + num_keys - num_queries)
        return self._masks[shape]


_plan: ContextVar[Plan | None] = ContextVar("plan", default=None)


@contextmanager
def planned(plan: Plan) -> Iterator[None]:
    """Let the forwards of this block follow `plan`."""
    token = _plan.set(plan)
    try:
        yield
    finally:
        _plan.reset(token)


def install(decoder: Any) -> bool:
    """Give `decoder` this attention, where it would use `sdpa`; whether it has it now."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    if getattr(decoder.config, "_attn_implementation", None) != "sdpa":
        return False
    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    decoder.set_attn_implementation(NAME)
    return bool(decoder.config._attn_implementation == NAME)


def uninstall(decoder: Any) -> None:
    """Back to `sdpa`."""
    decoder.set_attn_implementation("sdpa")


def dense_mask(layout: Layout, device: str, dtype: Any) -> torch.Tensor:
    """The same as one additive mask a row, [R, 1, W, W]: 0 where a token may look, the dtype's
    minimum elsewhere. What fills up a row sees itself. The layout has no root.
    """
    import torch

    width = layout.width
    # Of every token: where its segment begins, and from where to where it sees what is before.
    own = torch.arange(width).repeat(layout.num_rows)
    before = torch.zeros(2, len(own), dtype=own.dtype)
    for segment in layout.segments:
        here = slice(segment.begin, segment.end)
        start = segment.begin - segment.begin % width
        own[here] = segment.begin - start
        if segment.before is not None:
            before[0, here] = segment.before[0] - start
            before[1, here] = segment.before[1] - start
    shape = (layout.num_rows, 1, width, 1)
    begin, first, last = (each.view(shape) for each in torch.stack([own, *before]).to(device))
    key = torch.arange(width, device=device)
    seen = (key >= begin) & (key <= key[:, None]) | (key >= first) & (key < last)
    mask = torch.zeros(seen.shape, dtype=dtype, device=device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)


def no_mask(device: str, dtype: Any) -> torch.Tensor:
    """A mask of four dimensions, which transformers takes as made already and passes on."""
    import torch

    return torch.zeros(1, 1, 1, 1, device=device, dtype=dtype)


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """The registered function: [1, heads, N, head size] in, [1, N, heads, head size] out."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    plan = _plan.get()
    if plan is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **others
        )
    unknown = sorted(k for k, v in others.items() if v is not None and k not in _HARMLESS)
    if unknown:
        raise ValueError(f"the attention of {type(module).__name__} also takes {unknown}")
    if plan.kept is not None:
        plan.kept[module.layer_idx] = (key, value)
    return _by_segment(plan, module.layer_idx, query, key, value, scaling), None


def _by_segment(
    plan: Plan,
    layer: int,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
) -> torch.Tensor:
    import torch

    root = plan.root.get(layer)
    out = torch.empty(
        (1, query.shape[2], query.shape[1], value.shape[3]), dtype=query.dtype, device=query.device
    )
    is_grouped = query.shape[1] != key.shape[1]
    for segment in plan.segments:
        begin, end = segment.begin, segment.end
        ranges = [segment.before, (begin, end)] if segment.before else [(begin, end)]
        keys = [key[:, :, a:b] for a, b in ranges]
        values = [value[:, :, a:b] for a, b in ranges]
        if root is not None:
            keys.insert(0, root[0])
            values.insert(0, root[1])
        keys_seen = torch.cat(keys, dim=2) if len(keys) > 1 else keys[0]
        values_seen = torch.cat(values, dim=2) if len(values) > 1 else values[0]
        mask = plan.mask(end - begin, keys_seen.shape[2], query)
        found = torch.nn.functional.scaled_dot_product_attention(
            query[:, :, begin:end],
            keys_seen,
            values_seen,
            attn_mask=mask,
            is_causal=mask is None,
            scale=scaling,
            enable_gqa=is_grouped,
        )
        out[:, begin:end] = found.transpose(1, 2)
    return out
