"""The loaded backbone: hidden states of many answers in one forward, without padding.

Answers to one prompt share its tokens. They are laid out as a *tree* in one flat sequence: the
prompt once, then each answer's own tokens, with positions that restart behind the prompt and a mask
in which an answer sees the prompt and itself only. Several trees go into one forward. The numbers
are those of encoding every answer alone; `load` checks that on random ids for the very model it
loads, and falls back to one answer at a time where it does not hold (`Backbone.attention` says
which, "packed" or "plain").

A layer's features are its output after the model's final norm, so that a backbone cut to k layers
is an ordinary model that gives the same numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rm_core.backbone import BackboneInfo, _quiet_transformers, choose_device
from rm_core.errors import BackboneError

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

DTYPES = ("float32", "bfloat16")
_NORM_NAMES = ("norm", "ln_f", "final_layernorm", "final_layer_norm", "final_norm", "layernorm")
# Packed and plain must agree to this share of the states' own size (float32).
_TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}


@dataclass(frozen=True)
class Tree:
    """One prompt and its answers: ids they share, and each answer's own ids."""

    prefix: list[int]
    branches: list[list[int]]

    @property
    def num_tokens(self) -> int:
        """Tokens that a forward of this tree works on."""
        return len(self.prefix) + sum(len(branch) for branch in self.branches)


@dataclass
class Backbone:
    """A frozen decoder in evaluation mode on one device.

    Attributes:
        model: the decoder without its language-model head, cut to `num_layers`.
        norm: the decoder's final norm; None where it was not found, and then only the last of
            `num_layers` can be read.
        window: the longest sequence that every layer sees whole (sliding windows), or None.
        attention: "packed" or "plain".
    """

    info: BackboneInfo
    tokenizer: Any
    model: Any
    norm: Any
    device: str
    dtype: str
    num_layers: int
    window: int | None = None
    attention: str = "plain"

    def states(
        self, trees: Sequence[Tree], layers: Sequence[int]
    ) -> list[list[dict[int, torch.Tensor]]]:
        """Hidden states after the final norm, for every token of every branch.

        Args:
            trees: what to encode; their order and grouping change no number beyond 1e-4.
            layers: which layers, each at most `num_layers`.

        Returns:
            For each tree and branch: layer -> float32 [1 + len(branch), H] on the CPU; row 0
            belongs to the token before the branch (zeros where there is none).
        """
        import torch

        with torch.inference_mode():
            if self.attention == "packed" and self._fits_window(trees):
                return self._packed(trees, layers)
            return [[self._alone(t.prefix, b, layers) for b in t.branches] for t in trees]

    def _fits_window(self, trees: Sequence[Tree]) -> bool:
        if self.window is None:
            return True
        longest = max(len(t.prefix) + max(map(len, t.branches), default=0) for t in trees)
        return longest <= self.window

    def _packed(
        self, trees: Sequence[Tree], layers: Sequence[int]
    ) -> list[list[dict[int, torch.Tensor]]]:
        """One forward over all trees laid end to end: N tokens, no padding."""
        import torch

        ids: list[int] = []
        positions: list[int] = []
        tree_of: list[int] = []
        branch_of: list[int] = []
        rows: list[list[list[int]]] = []  # per tree and branch: indices into the flat sequence
        for number, tree in enumerate(trees):
            before = len(ids) + len(tree.prefix) - 1
            for branch, tokens in enumerate([tree.prefix, *tree.branches]):
                first = len(ids)
                offset = 0 if branch == 0 else len(tree.prefix)
                ids += tokens
                positions += range(offset, offset + len(tokens))
                tree_of += [number] * len(tokens)
                branch_of += [branch] * len(tokens)
                if branch == 0:
                    rows.append([])
                else:
                    previous = before if tree.prefix else -1
                    rows[-1].append([previous, *range(first, len(ids))])
        is_chain = len(trees) == 1 and len(trees[0].branches) == 1
        mask = None if is_chain else self._tree_mask(tree_of, branch_of)
        hidden = self._forward(ids, positions, mask, layers)
        flat = {layer: h.float().cpu() for layer, h in hidden.items()}
        return [
            [{layer: _take(h, torch.tensor(row)) for layer, h in flat.items()} for row in branches]
            for branches in rows
        ]

    def _tree_mask(self, tree_of: list[int], branch_of: list[int]) -> torch.Tensor:
        """Additive mask [1, 1, N, N]: 0 where a token may look, the dtype's minimum elsewhere."""
        import torch

        tree = torch.tensor(tree_of, device=self.device)
        branch = torch.tensor(branch_of, device=self.device)
        same_tree = tree[:, None] == tree[None, :]
        own_path = (branch[None, :] == 0) | (branch[None, :] == branch[:, None])
        index = torch.arange(len(tree_of), device=self.device)
        seen = same_tree & own_path & (index[None, :] <= index[:, None])
        dtype = getattr(torch, self.dtype)
        mask = torch.full(seen.shape, torch.finfo(dtype).min, dtype=dtype, device=self.device)
        return mask.masked_fill_(seen, 0.0)[None, None]

    def _alone(
        self, prefix: list[int], branch: list[int], layers: Sequence[int]
    ) -> dict[int, torch.Tensor]:
        """One answer in an ordinary causal forward."""
        import torch

        ids = prefix + branch
        hidden = self._forward(ids, list(range(len(ids))), None, layers)
        rows = torch.tensor([len(prefix) - 1, *range(len(prefix), len(ids))])
        return {layer: _take(h.float().cpu(), rows) for layer, h in hidden.items()}

    def _forward(
        self, ids: list[int], positions: list[int], mask: Any, layers: Sequence[int]
    ) -> dict[int, torch.Tensor]:
        """layer -> [N, H] in the backbone's dtype and device."""
        import torch

        too_deep = [layer for layer in layers if not 1 <= layer <= self.num_layers]
        if too_deep or (self.norm is None and set(layers) != {self.num_layers}):
            raise BackboneError(
                f"Layers {list(layers)} cannot be read from a backbone loaded to layer "
                f"{self.num_layers}"
                + ("" if self.norm else " whose final norm was not found")
                + "."
            )
        inputs: dict[str, Any] = {"input_ids": torch.tensor([ids], device=self.device)}
        if mask is not None:
            inputs["attention_mask"] = mask
            inputs["position_ids"] = torch.tensor([positions], device=self.device)
        shallow = [layer for layer in layers if layer < self.num_layers]
        out = self.model(**inputs, use_cache=False, output_hidden_states=bool(shallow))
        hidden = {layer: self.norm(out.hidden_states[layer])[0] for layer in shallow}
        if self.num_layers in layers:
            hidden[self.num_layers] = out.last_hidden_state[0]
        return hidden


def _take(hidden: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Rows of [N, H]; row -1 (no token before the first) gives zeros."""
    taken = hidden[rows.clamp(min=0)]
    taken[rows < 0] = 0.0
    return taken


def load(
    info: BackboneInfo,
    *,
    device: str = "auto",
    dtype: str = "float32",
    num_layers: int | None = None,
) -> Backbone:
    """Load a prepared backbone, cut to its first `num_layers` layers.

    Raises:
        BackboneError: weights that cannot be read, an unknown device or dtype.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    if dtype not in DTYPES:
        raise BackboneError(f"The dtype {dtype!r} is not known; use one of {', '.join(DTYPES)}.")
    depth = num_layers or info.num_layers
    if not 1 <= depth <= info.num_layers:
        raise BackboneError(
            f"Layer {depth} was asked for and {info.name} has {info.num_layers}; name one between "
            f"1 and {info.num_layers}."
        )
    where = choose_device(device)
    _quiet_transformers()
    try:
        config = AutoConfig.from_pretrained(info.directory, trust_remote_code=False)
        _cut(config.get_text_config(), depth)
        model = AutoModelForCausalLM.from_pretrained(
            info.directory,
            config=config,
            dtype=getattr(torch, dtype),
            trust_remote_code=False,
            use_safetensors=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(info.directory, trust_remote_code=False)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BackboneError(
            f"The backbone {info.name} in {info.directory} cannot be loaded: {first[:300]}."
        ) from error
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else model.base_model
    decoder.eval().requires_grad_(False).to(where)
    backbone = Backbone(
        info=info,
        tokenizer=tokenizer,
        model=decoder,
        norm=None,
        device=where,
        dtype=dtype,
        num_layers=depth,
        window=_window(config.get_text_config()),
    )
    backbone.norm = _find_norm(backbone)
    backbone.attention = "packed" if _packing_agrees(backbone) else "plain"
    log.info(
        "%s to layer %d on %s in %s, attention %s",
        info.name,
        depth,
        where,
        dtype,
        backbone.attention,
    )
    return backbone


def _cut(config: Any, depth: int) -> None:
    """Let a config describe only its first `depth` layers."""
    full = config.num_hidden_layers
    config.num_hidden_layers = depth
    for name, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == full and name.endswith(("types", "layers")):
            setattr(config, name, value[:depth])


def _window(config: Any) -> int | None:
    """The sliding window where any layer has one."""
    window = getattr(config, "sliding_window", None)
    types = getattr(config, "layer_types", None)
    if types is not None and not any("sliding" in kind for kind in types):
        return None
    return int(window) if window else None


def _find_norm(backbone: Backbone) -> Any:
    """The decoder's final norm, verified: normed raw states are the last hidden state."""
    import torch

    ids = torch.arange(3, 11, device=backbone.device)[None] % 64
    places = [backbone.model, getattr(backbone.model, "decoder", None)]
    for place in places:
        for name in _NORM_NAMES:
            norm = getattr(place, name, None)
            if not isinstance(norm, torch.nn.Module):
                continue
            raw: list[torch.Tensor] = []
            hook = norm.register_forward_pre_hook(lambda _, args, raw=raw: raw.append(args[0]))
            with torch.inference_mode():
                last = backbone.model(input_ids=ids, use_cache=False).last_hidden_state
            hook.remove()
            with torch.inference_mode():
                if raw and torch.allclose(norm(raw[-1]), last, atol=1e-5, rtol=1e-4):
                    return norm
    log.warning("no final norm found in %s: one layer a pass", type(backbone.model).__name__)
    return None


def _packing_agrees(backbone: Backbone) -> bool:
    """Whether packed trees give the numbers of answers encoded alone, on fixed random ids."""
    import torch

    vocab = int(backbone.model.get_input_embeddings().num_embeddings)
    draw = torch.Generator().manual_seed(0)

    def ids(count: int) -> list[int]:
        return torch.randint(0, vocab, (count,), generator=draw).tolist()

    trees = [Tree(ids(9), [ids(7), ids(4)]), Tree(ids(3), [ids(5)])]
    if backbone.window is not None and backbone.window < 16:
        return False
    layers = [backbone.num_layers]
    if backbone.norm is not None and backbone.num_layers > 1:
        layers.append(backbone.num_layers // 2)
    try:
        with torch.inference_mode():
            packed = backbone._packed(trees, layers)
            alone = [[backbone._alone(t.prefix, b, layers) for b in t.branches] for t in trees]
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        log.warning("packed attention is not possible: %s", error)
        return False
    worst = 0.0
    for many, ones in zip(packed, alone, strict=True):
        for a, b in zip(many, ones, strict=True):
            for layer in layers:
                gap = (a[layer] - b[layer]).abs().max() / b[layer].abs().max().clamp(min=1e-6)
                worst = max(worst, float(gap))
    if worst > _TOLERANCE[backbone.dtype]:
        log.warning("packed attention differs by %.2g of the states' size: not used", worst)
        return False
    return True
