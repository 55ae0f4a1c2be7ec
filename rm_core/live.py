"""Hidden states while somebody types: only what changed goes through the backbone.

A causal model's state at a token depends on nothing behind it. The keys and values of what was
encoded last are kept, and a text that differs from it is encoded from its first changed token on;
an answer that did not change costs nothing. The numbers are those of `Backbone.states`:
`LiveEncoder` checks that on random ids for the very model it is given, and falls back to it where
it does not hold.

    live = LiveEncoder(model.warm())
    states, work = live.states(answer.input_ids)       # float32 [N, H]; work.num_encoded tokens
    scores, work = score(model, live, "Name a fruit.", ["An apple.", "A table."])

What the texts of one request need is never let go before the next request; whatever else is kept is
bounded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rm_core.decoder_checks import cache_argument, num_embeddings
from rm_core.errors import Stopped
from rm_core.transformer import _TOLERANCE, Backbone, Tree

if TYPE_CHECKING:
    import numpy as np
    import torch

    from rm_core.conversation import Message
    from rm_core.scoring import RewardModel, ScoredResponse

log = logging.getLogger(__name__)

# Kept over all texts, unless one request, which its caller bounds, needs more; SmolLM2 to layer 18
# needs some 27 kB of keys and values a token.
MAX_KEPT_TOKENS = 12_288
# Between two pieces of a long text a stale request is noticed.
PIECE = 256


@dataclass(frozen=True)
class Work:
    """What one call cost: tokens in the text, and those that went through the backbone."""

    num_tokens: int
    num_encoded: int


@dataclass(frozen=True)
class LiveScore:
    """A response's scores with the features that its reward is linear in.

    Attributes:
        mean, end: float64 [H], over the response's tokens and at its end token.
    """

    scored: ScoredResponse
    mean: np.ndarray
    end: np.ndarray


@dataclass
class _Kept:
    """A text that was encoded: ids [N], keys and values of every layer, states [N, H]."""

    ids: list[int]
    layers: list[tuple[torch.Tensor, torch.Tensor]]  # each [1, heads, N, head size]
    states: torch.Tensor

    def shared(self, ids: Sequence[int]) -> int:
        """How many ids both begin with."""
        limit = min(len(ids), len(self.ids))
        for i in range(limit):
            if ids[i] != self.ids[i]:
                return i
        return limit


class LiveEncoder:
    """States of the deepest layer of one loaded backbone, reusing what it encoded before.

    Not for several threads at once: the caller lets one in at a time.
    """

    def __init__(self, backbone: Backbone, max_kept_tokens: int = MAX_KEPT_TOKENS) -> None:
        self.backbone = backbone
        self.max_kept_tokens = max_kept_tokens
        self._kept: list[_Kept] = []  # newest last
        self.reuses_prefixes = _reuse_agrees(self)

    @property
    def num_kept_tokens(self) -> int:
        """Tokens whose keys and values are held now."""
        return sum(len(kept.ids) for kept in self._kept)

    def states(
        self, ids: Sequence[int], should_stop: Callable[[], bool] = lambda: False
    ) -> tuple[torch.Tensor, Work]:
        """States after the final norm at the backbone's last loaded layer.

        Args:
            ids: token ids [N] of one whole conversation.
            should_stop: asked before every piece of the forward.

        Returns:
            float32 [N, H] on the CPU, and what it cost.

        Raises:
            Stopped: `should_stop` said so; what was encoded until then is kept.
        """
        return next(self.states_of([ids], should_stop))

    def states_of(
        self, texts: Sequence[Sequence[int]], should_stop: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[torch.Tensor, Work]]:
        """The same for every text of one request, in order.

        What a text of the request begins with is not let go for the sake of another one, however
        many tokens they have together: an edit of one would else cost all of them.
        """
        wanted = [list(ids) for ids in texts]
        needed = [base for base, _ in map(self._nearest, wanted) if base is not None]
        for ids in wanted:
            if not self.reuses_prefixes:
                yield self._plain(ids, should_stop)
                continue
            kept, work = self._reused(ids, should_stop, needed)
            needed.append(kept)
            yield kept.states[: len(ids)], work

    def _plain(self, ids: list[int], should_stop: Callable[[], bool]) -> tuple[torch.Tensor, Work]:
        if should_stop():
            raise Stopped("The text changed before it was encoded.")
        layer = self.backbone.num_layers
        found = self.backbone.states([Tree([], [ids])], [layer])[0][0][layer][1:]
        return found, Work(len(ids), len(ids))

    def _reused(
        self, ids: list[int], should_stop: Callable[[], bool], needed: Sequence[_Kept]
    ) -> tuple[_Kept, Work]:
        """The kept text that holds `ids` in front, encoded as far as it was not there."""
        import torch

        base, num_shared = self._nearest(ids)
        if base is not None and num_shared == len(ids):
            self._touch(base)
            return base, Work(len(ids), 0)
        with torch.inference_mode():
            made = self._extended(base, num_shared, ids, should_stop, needed)
        return made, Work(len(ids), len(ids) - num_shared)

    def _nearest(self, ids: Sequence[int]) -> tuple[_Kept | None, int]:
        """The kept text that begins with most of `ids`, and with how many; else (None, 0)."""
        nearest, num_shared = None, 0
        for kept in self._kept:
            if (num := kept.shared(ids)) > num_shared:
                nearest, num_shared = kept, num
        return nearest, num_shared

    def forget(self) -> None:
        """Let go of everything that is kept."""
        self._kept.clear()

    def _extended(
        self,
        base: _Kept | None,
        num_shared: int,
        ids: list[int],
        should_stop: Callable[[], bool],
        needed: Sequence[_Kept] = (),
    ) -> _Kept:
        """Encode `ids` from `num_shared` on, behind the keys and values of `base`, and keep it."""
        import torch
        from transformers import DynamicCache

        backbone = self.backbone
        cache, parts = DynamicCache(), []
        if base is not None:
            first = [(k[..., :num_shared, :], v[..., :num_shared, :]) for k, v in base.layers]
            cache, parts = DynamicCache(first), [base.states[:num_shared]]
        done = num_shared
        stopped = False
        while done < len(ids):
            stopped = should_stop()
            if stopped:
                break
            piece = ids[done : done + PIECE]
            out = backbone.model(
                input_ids=torch.tensor([piece], device=backbone.device),
                use_cache=True,
                **{cache_argument(backbone.model): cache},
            )
            parts.append(out.last_hidden_state[0].float().cpu())
            done += len(piece)
        if done > num_shared:
            layers = [(keys, values) for keys, values, *_ in cache]
            made = _Kept(ids[:done], layers, torch.cat(parts))
            self._keep(made, base, num_shared)
            self._let_go([*needed, made])
        if stopped:
            raise Stopped("The text changed while it was encoded.")
        return made

    def _keep(self, made: _Kept, base: _Kept | None, num_shared: int) -> None:
        """Add `made`; what it grew from goes where it is nothing but an older state of it."""
        if base is not None and num_shared >= len(base.ids) - _TAIL:
            self._kept = [kept for kept in self._kept if kept is not base]
        self._kept.append(made)

    def _let_go(self, needed: Sequence[_Kept]) -> None:
        """Drop the oldest texts that the request does not need until the others have room."""
        excess = self.num_kept_tokens - self.max_kept_tokens
        staying = []
        for kept in self._kept:
            if excess > 0 and not any(kept is each for each in needed):
                excess -= len(kept.ids)
            else:
                staying.append(kept)
        self._kept = staying

    def _touch(self, kept: _Kept) -> None:
        self._kept = [*(each for each in self._kept if each is not kept), kept]


def score(
    model: RewardModel,
    live: LiveEncoder,
    prompt: str | list[Message],
    responses: Sequence[str],
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[list[LiveScore], Work]:
    """What `model.token_scores_many` gives, at the price of what changed since the last call.

    Args:
        live: of the model's own backbone, loaded to its head's layer.

    Raises:
        AnswerError: a prompt or response that cannot be encoded.
        Stopped: `should_stop` said so.
    """
    scores, num_tokens, num_encoded = [], 0, 0
    answers = model.encoded(prompt, responses)
    encoded = live.states_of([answer.input_ids for answer in answers], should_stop)
    for answer, (states, work) in zip(answers, encoded, strict=True):
        num_tokens += work.num_tokens
        num_encoded += work.num_encoded
        own = states[max(answer.response_start - 1, 0) :].numpy()  # [1 + T, H]
        if answer.response_start == 0:
            own = states.new_zeros((1 + len(states), states.shape[1])).numpy()
            own[1:] = states.numpy()
        response = own[1:].astype("float64")
        scores.append(LiveScore(model.scored(answer, own), response.mean(axis=0), response[-1]))
    return scores, Work(num_tokens, num_encoded)


# A text that was typed on ends in other end tokens at most: its older state is of no more use.
_TAIL = 8


def _reuse_agrees(live: LiveEncoder) -> bool:
    """Whether states behind kept keys and values are those of a plain forward, on random ids."""
    import torch

    backbone = live.backbone
    vocab = num_embeddings(backbone.model)
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(0, vocab, (24,), generator=draw).tolist()
    changed = ids[:13] + ids[:5] + ids[15:]
    if backbone.window is not None:
        return False  # a sliding window's cache cannot be cut back
    layer = backbone.num_layers
    try:
        with torch.inference_mode():
            live._extended(None, 0, ids, lambda: False)
            kept = live._kept[-1]
            reused = live._extended(kept, 13, changed, lambda: False).states
            plain = backbone.states([Tree([], [changed])], [layer])[0][0][layer][1:]
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        log.warning("prefixes cannot be reused: %s", error)
        return False
    finally:
        live.forget()
    gap = float((reused - plain).abs().max() / plain.abs().max().clamp(min=1e-6))
    if gap > _TOLERANCE[backbone.dtype]:
        log.warning("reused prefixes differ by %.2g of the states' size: not used", gap)
        return False
    return True
