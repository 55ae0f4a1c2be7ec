"""The loaded backbone: hidden states of many answers in one forward, without padding.

Answers to one prompt share its tokens, and prompts share what the template begins with: both are
encoded once (rm_core.tree). An answer sees its prompt and itself only. The numbers are those of
encoding every answer alone; `load` checks that on random ids for the very model it loads and
takes the first way that holds, which `Backbone.attention` and the log name:

- "packed": many trees in one forward, each segment attended to by itself (rm_core.tree_attention);
- "masked": many trees in one forward, in rows under a mask each: what CUDA's kernels like best, and
  for models with an attention of their own;
- "plain": one answer at a time, as transformers runs it.

A layer's features are its output after the model's final norm, so that a backbone cut to k layers
is an ordinary model that gives the same numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from rm_core import decoder_checks, tree_attention
from rm_core.backbone import BackboneInfo, _quiet_transformers, choose_device
from rm_core.decoder_checks import Layers
from rm_core.errors import BackboneError
from rm_core.streamline import restore, streamline
from rm_core.tree import (
    MIN_ROOT_TOKENS,
    Layout,
    Tree,
    common_ids,
    lay_out,
    lay_out_in_rows,
    num_common,
)
from rm_core.tree_attention import KeysValues, Plan

if TYPE_CHECKING:
    import torch

__all__ = ["DTYPES", "Backbone", "Tree", "load"]

log = logging.getLogger(__name__)

DTYPES = ("float32", "bfloat16")
_TOLERANCE = decoder_checks.TOLERANCE

Attention = Literal["packed", "masked", "plain"]


@dataclass
class _Root:
    """What the trees of a pack begin with, encoded: layer index -> keys and values."""

    ids: list[int]
    layers: dict[int, KeysValues]


@dataclass
class Backbone:
    """A frozen decoder in evaluation mode on one device.

    Attributes:
        model: the decoder without its language-model head, cut to `num_layers`.
        layers: the decoder's blocks and final norm; None where they were not found, and then only
            the last of `num_layers` can be read.
        window: the longest sequence that every layer sees whole (sliding windows), or None.
        attention: "packed", "masked" or "plain".
        row_tokens: of a row under a mask. Most prompts with two answers fit into 512; attention's
            work grows with it.
        num_encoded: tokens that went through the model so far.
    """

    info: BackboneInfo
    tokenizer: Any
    model: Any
    layers: Layers | None
    device: str
    dtype: str
    num_layers: int
    window: int | None = None
    attention: str = "plain"
    row_tokens: int = 512
    num_encoded: int = 0
    _root: _Root | None = field(default=None, repr=False)

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

        if not trees:
            return []
        with torch.inference_mode():
            if self.attention == "plain" or not self.fits_window(trees):
                return [[self._alone(t.prefix, b, layers) for b in t.branches] for t in trees]
            root = self._shared_root(trees) if self.attention == "packed" else None
            return self._packed(trees, layers, root)

    @property
    def num_shared(self) -> int:
        """Tokens that the prompts encoded last had in common, and that are not encoded again."""
        return len(self._root.ids) if self._root else 0

    def forget(self) -> None:
        """Let go of the tokens that prompts had in common."""
        self._root = None

    def fits_window(self, trees: Sequence[Tree]) -> bool:
        """Whether every layer sees the whole of each answer and its prompt."""
        if self.window is None:
            return True
        longest = max(len(t.prefix) + max(map(len, t.branches), default=0) for t in trees)
        return longest <= self.window

    def _shared_root(self, trees: Sequence[Tree]) -> _Root | None:
        """What all these trees begin with, encoded now or kept from an earlier call.

        The kept one is cut back where a pack shares less of it, and so settles on what all prompts
        of an encoding begin with.
        """
        common = common_ids(trees)
        kept = self._root
        if kept is not None:
            same = num_common(kept.ids, common)
            if same == len(kept.ids):
                return kept
            if same >= MIN_ROOT_TOKENS:
                layers = {i: (k[:, :, :same], v[:, :, :same]) for i, (k, v) in kept.layers.items()}
                self._root = _Root(kept.ids[:same], layers)
                return self._root
        if len(trees) < 2 or len(common) < MIN_ROOT_TOKENS:
            return None
        layout = lay_out([Tree([], [common])])
        plan = Plan(layout.segments, kept={})
        self._forward(layout, [self.num_layers], plan)
        assert plan.kept is not None
        self._root = _Root(common, plan.kept)
        return self._root

    def _packed(
        self, trees: Sequence[Tree], layers: Sequence[int], root: _Root | None
    ) -> list[list[dict[int, torch.Tensor]]]:
        """One forward over all trees, laid end to end or, under a mask, in rows."""
        if self.attention == "masked":
            layout, plan = lay_out_in_rows(trees, self.row_tokens), None
        else:
            layout = lay_out(trees, len(root.ids) if root else 0)
            plan = None
            if not layout.is_chain:
                plan = Plan(layout.segments, root.layers if root else {})
        hidden = self._forward(layout, layers, plan)
        branches = [places for tree in layout.places for places in tree]
        taken = {layer: iter(_take(h, branches)) for layer, h in hidden.items()}
        return [
            [{layer: next(states) for layer, states in taken.items()} for _ in tree]
            for tree in layout.places
        ]

    def _alone(
        self, prefix: list[int], branch: list[int], layers: Sequence[int]
    ) -> dict[int, torch.Tensor]:
        """One answer in an ordinary causal forward."""
        layout = lay_out([Tree([], [prefix + branch])])
        places = [len(prefix) - 1, *range(len(prefix), len(layout.ids))]
        hidden = self._forward(layout, layers, None)
        return {layer: _take(h, [places])[0] for layer, h in hidden.items()}

    def _forward(
        self, layout: Layout, layers: Sequence[int], plan: Plan | None
    ) -> dict[int, torch.Tensor]:
        """layer -> [N, H] in the backbone's dtype and device."""
        import torch

        if not self.reads(layers):
            raise BackboneError(
                f"Layers {list(layers)} cannot be read from a backbone loaded to layer "
                f"{self.num_layers}"
                + ("" if self.layers else " whose final norm was not found")
                + "."
            )
        shape = (layout.num_rows, layout.width)
        ids = torch.tensor(layout.ids, device=self.device)
        inputs: dict[str, Any] = {"input_ids": ids.view(shape)}
        if not layout.is_chain or plan is not None:
            dtype = getattr(torch, self.dtype)
            mask = tree_attention.dense_mask(layout, self.device, dtype) if plan is None else None
            inputs["attention_mask"] = (
                tree_attention.no_mask(self.device, dtype) if mask is None else mask
            )
            positions = torch.tensor(layout.positions, device=self.device)
            inputs["position_ids"] = positions.view(shape)
        shallow = [layer for layer in layers if layer < self.num_layers]
        try:
            with (
                tree_attention.planned(plan) if plan is not None else nullcontext(),
                self._normed(shallow) as hidden,
            ):
                out = self.model(**inputs, use_cache=False)
        except decoder_checks.TROUBLE as error:
            raise BackboneError(
                f"The backbone {self.info.name} failed on {layout.num_tokens} tokens: "
                f"{decoder_checks.first_line(error)}; if memory ran out, free some or use another "
                "device, else name another backbone."
            ) from error
        self.num_encoded += layout.num_tokens
        if self.num_layers in layers:
            hidden[self.num_layers] = out.last_hidden_state.flatten(0, 1)
        return hidden

    def reads(self, layers: Sequence[int]) -> bool:
        """Whether these layers' states come from one forward."""
        if self.layers is None:
            return set(layers) == {self.num_layers}
        return all(1 <= layer <= self.num_layers for layer in layers)

    @contextmanager
    def _normed(self, layers: Sequence[int]) -> Iterator[dict[int, torch.Tensor]]:
        """Filled during a forward: layer -> [N, H], the block's output after the final norm."""
        found: dict[int, torch.Tensor] = {}
        if self.layers is None:
            yield found
            return
        blocks, norm = self.layers

        def keep(layer: int, out: Any) -> None:
            found[layer] = norm(decoder_checks.output_of(out)).flatten(0, 1)

        hooks = [
            blocks[layer - 1].register_forward_hook(lambda _, __, out, k=layer: keep(k, out))
            for layer in layers
        ]
        try:
            yield found
        finally:
            for hook in hooks:
                hook.remove()


def _take(hidden: torch.Tensor, branches: Sequence[list[int]]) -> list[torch.Tensor]:
    """Each branch's places of [N, H] as float32 on the CPU; place -1 (no token) gives zeros.

    Picked where they are, so that a GPU hands over what is asked for, in one piece.
    """
    import torch

    wanted = torch.tensor([place for places in branches for place in places])
    taken = hidden[wanted.clamp(min=0).to(hidden.device)].float().cpu()
    taken[wanted < 0] = 0.0
    return list(taken.split([len(places) for places in branches]))


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
        decoder_checks.cut(config.get_text_config(), depth)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            info.directory,
            config=config,
            dtype=getattr(torch, dtype),
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
        model, loading = loaded
        tokenizer = AutoTokenizer.from_pretrained(info.directory, trust_remote_code=False)
    except (OSError, SafetensorError, *decoder_checks.TROUBLE) as error:
        raise BackboneError(
            f"The backbone {info.name} in {info.directory} cannot be loaded: "
            f"{decoder_checks.first_line(error)}; fetch its files again, or name another backbone."
        ) from error
    decoder = decoder_checks.find_decoder(model, info.name, where)
    _check_whole(model, decoder, loading["missing_keys"], info)
    backbone = Backbone(
        info=info,
        tokenizer=tokenizer,
        model=decoder,
        layers=decoder_checks.find_layers(decoder, depth, where),
        device=where,
        dtype=dtype,
        num_layers=depth,
        window=decoder_checks.window(config.get_text_config()),
    )
    backbone.attention = _choose_attention(backbone)
    log.info(
        "%s to layer %d on %s in %s, attention %s",
        info.name,
        depth,
        where,
        dtype,
        backbone.attention,
    )
    return backbone


def _check_whole(model: Any, decoder: Any, missing: Collection[str], info: BackboneInfo) -> None:
    """Refuse made-up weights: transformers fills at random whatever the files lack."""
    lost = decoder_checks.lost_weights(model, decoder, missing)
    if lost:
        raise BackboneError(
            f"The backbone {info.name} in {info.directory} lacks {len(lost)} of its weights, "
            f"{lost[0]} first, and would be filled up at random; fetch its files again, or name "
            "another backbone."
        )


def _choose_attention(backbone: Backbone) -> Attention:
    """The fastest way that gives the numbers of answers encoded alone."""
    check = decoder_checks.PackingCheck(backbone)
    if backbone.device == "cpu" and backbone.dtype == "float32":
        replaced = streamline(backbone.model)
        if replaced and not check.agrees("plain", "the streamlined model"):
            restore(replaced)
    unknown = decoder_checks.unknown_layer_types(backbone.model.config)
    if unknown:
        log.warning("layers of the kinds %s: answers are encoded alone", ", ".join(unknown))
        return "plain"
    # On a GPU a hundred small kernels a layer would cost more than one masked one.
    if backbone.device == "cpu" and tree_attention.install(backbone.model):
        if check.agrees("packed"):
            return "packed"
        tree_attention.uninstall(backbone.model)
    return "masked" if check.agrees("masked") else "plain"
