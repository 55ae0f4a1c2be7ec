"""The reward model as a library: rewards and per-token shares from a checkpoint.

model = RewardModel.from_checkpoint("studio-data/checkpoints/run-2-1a2b3c")
model.score("Name a fruit.", ["An apple.", "A table."])           # two rewards
scored = model.token_scores("Name a fruit.", "An apple.")
"".join(token.text for token in scored.tokens) == "An apple."      # always
sum(token.contribution for token in scored.tokens)                 # the reward
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rm_core import checkpoint
from rm_core.backbone import BackboneInfo, Report, prepare
from rm_core.conversation import ConversationEncoder, EncodedAnswer, Limits, Message
from rm_core.encoding import Group
from rm_core.errors import CheckpointError
from rm_core.heads import design
from rm_core.links import LINKS
from rm_core.transformer import Backbone, load
from rm_core.uncertainty import Posterior

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class TokenScore:
    """A stretch of the response's text with its share of the reward.

    Attributes:
        text: characters start … end of the response; "" for an end token.
        value: v_t of the stretch's last token; None for text that was not scored.
        contribution: its share; all shares add up to the reward.
        pieces: one {"value", "contribution"} for each token in it (more than one where tokens
            share a character).
    """

    text: str
    start: int
    end: int
    value: float | None
    contribution: float
    pieces: list[dict[str, float]]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, the field names of `reward-studio score --tokens`."""
        return {
            "text": self.text,
            "start": self.start,
            "end": self.end,
            "value": self.value,
            "contribution": self.contribution,
            "pieces": self.pieces,
        }


@dataclass(frozen=True)
class ScoredResponse:
    """One response's reward and token scores, parallel to its text.

    Attributes:
        reward: the sum of the contributions.
        tokens: in order; their texts joined are the response, character for character.
        prompt_value: v at the prompt's last token (None where the prompt has no token).
        end_term: the part of the last end token's contribution that is its own term (mean+last).
        num_control_tokens: control tokens spelled in prompt or response.
        num_dropped_turns: turns of the prompt that did not fit.
    """

    reward: float
    tokens: list[TokenScore]
    prompt_value: float | None
    end_term: float
    num_control_tokens: int
    num_dropped_turns: int

    def as_dict(self, tokens: bool = True) -> dict[str, Any]:
        """One output line of `reward-studio score`, with or without --tokens."""
        line: dict[str, Any] = {"reward": self.reward}
        if tokens:
            line["tokens"] = [token.as_dict() for token in self.tokens]
        return line


class RewardModel:
    """A checkpoint with its backbone; the backbone is loaded at the first score."""

    def __init__(
        self, loaded: checkpoint.Checkpoint, info: BackboneInfo, device: str = "auto"
    ) -> None:
        self.head = loaded.head
        self.manifest = loaded.manifest
        self.directory = loaded.directory
        self.info = info
        self._device = device
        self._backbone: Backbone | None = None
        self._posterior: Posterior | None = None
        self._posterior_read = False

    @classmethod
    def from_checkpoint(
        cls,
        directory: Path | str,
        *,
        backbones_dir: Path | None = None,
        device: str = "auto",
        report: Report | None = None,
    ) -> RewardModel:
        """Read a checkpoint and find the backbone that it was trained on.

        Args:
            backbones_dir: where conversions and descriptions of backbones are kept; without, that
                of the data directory which the checkpoint lies in, else `default_backbones_dir`.

        Raises:
            CheckpointError: damaged, or its backbone is another revision now.
            BackboneError: its backbone cannot be found.
        """
        loaded = checkpoint.load(Path(directory))
        wanted = loaded.manifest["backbone"]
        info = prepare(wanted["spec"], backbones_dir or _backbones_beside(loaded.directory), report)
        if info.fingerprint(wanted["dtype"]) != wanted["fingerprint"]:
            raise CheckpointError(
                f"The checkpoint {directory} was trained on {wanted['name']} revision "
                f"{wanted['revision'][:12]} and {wanted['spec']!r} is now revision "
                f"{info.revision[:12]} (or has another tokenizer or template); restore that "
                "backbone or train again."
            )
        return cls(loaded, info, device)

    @property
    def device(self) -> str | None:
        """Where the backbone is loaded; None before the first score."""
        return self._backbone.device if self._backbone else None

    def warm(self, backbone: Backbone | None = None) -> Backbone:
        """Load the backbone now (otherwise the first score does), or share another model's."""
        if backbone is not None:
            self._backbone = backbone
        if self._backbone is None:
            self._backbone = load(
                self.info,
                device=self._device,
                dtype=self.manifest["backbone"]["dtype"],
                num_layers=self.head.layer,
            )
        return self._backbone

    def score(self, prompt: str | list[Message], responses: Sequence[str]) -> list[float]:
        """Rewards of responses to one prompt.

        Raises:
            AnswerError: a prompt or response that cannot be encoded (longer than the context …).
        """
        return [scored.reward for scored in self.token_scores_many(prompt, responses)]

    def token_scores(self, prompt: str | list[Message], response: str) -> ScoredResponse:
        """Reward and token scores of one response; raises AnswerError as `score` does."""
        return self.token_scores_many(prompt, [response])[0]

    def token_scores_many(
        self, prompt: str | list[Message], responses: Sequence[str]
    ) -> list[ScoredResponse]:
        """The same for several responses, which share the prompt's work."""
        states = self._states(self.encoded(prompt, responses))
        return [self.scored(answer, own) for answer, own in states]

    def _states(self, answers: list[EncodedAnswer]) -> Iterator[tuple[EncodedAnswer, np.ndarray]]:
        """Each answer with its states [1 + T, H], row 0 being the prompt's last token."""
        backbone = self.warm()
        for part in _within_budget(answers):
            tree = Group([""] * len(part), part).tree()
            states = backbone.states([tree], [self.head.layer])[0]
            for answer, by_layer in zip(part, states, strict=True):
                yield answer, by_layer[self.head.layer][-(answer.num_response_tokens + 1) :].numpy()

    def encoded(self, prompt: str | list[Message], responses: Sequence[str]) -> list[EncodedAnswer]:
        """Ids and offsets of responses to one prompt; raises AnswerError as `score` does."""
        # Scoring's only limit is the context: people score what they have.
        limits = Limits(self.info.max_context, self.info.max_context)
        encoder = ConversationEncoder(self.warm().tokenizer, self.info, limits)
        rendered = encoder.prompt(prompt)
        return [encoder.answer(rendered, response) for response in responses]

    def prob_better(self, reward_a: float, reward_b: float) -> float:
        """P(a is better than b), calibrated on left-out pairs; for answers to one prompt."""
        margin = float(self.manifest["calibration_scale"]) * (reward_a - reward_b)
        return 1.0 / (1.0 + math.exp(-margin)) if margin > -700 else 0.0

    def prob_tie(self, reward_a: float, reward_b: float) -> float | None:
        """P(people call it a tie); None for a head that was fitted without a model of ties."""
        import numpy as np

        threshold = self.manifest.get("tie_threshold")
        if threshold is None:
            return None
        link = LINKS[self.manifest["ties"]]
        return float(link.tie_probability(np.array(reward_a - reward_b), threshold))

    def features(self, prompt: str | list[Message], responses: Sequence[str]) -> np.ndarray:
        """What the head reads of each response, float32 [B, d]; `@ head.weights` is the reward.

        Raises:
            AnswerError: as `score` does.
        """
        import numpy as np

        states = [own[1:] for _, own in self._states(self.encoded(prompt, responses))]
        mean = np.stack([own.mean(axis=0, dtype=np.float64) for own in states])
        end = np.stack([own[-1] for own in states])
        return design(self.head.readout, mean.astype(np.float32), end)

    @property
    def posterior(self) -> Posterior | None:
        """How sure the head is; None for a checkpoint that was saved without."""
        if not self._posterior_read:
            self._posterior = Posterior.load(self.directory)
            self._posterior_read = True
        return self._posterior

    def pair_uncertainty(
        self, prompt: str | list[Message], response_a: str, response_b: str
    ) -> tuple[float, float]:
        """Mean and standard deviation of the reward difference a - b.

        Raises:
            AnswerError: as `score` does.
            CheckpointError: the checkpoint has no posterior.
        """
        a, b = self.features(prompt, [response_a, response_b]).astype("float64")
        x = (a - b)[None]
        variance = float(self._needed_posterior().difference_variance(x)[0])
        return float((x @ self.head.weights)[0]), math.sqrt(variance)

    def prob_better_with_uncertainty(
        self, prompt: str | list[Message], response_a: str, response_b: str
    ) -> tuple[float, float]:
        """P(a better) averaged over the posterior, and the reward difference's deviation."""
        import numpy as np

        mean, std = self.pair_uncertainty(prompt, response_a, response_b)
        p = self._needed_posterior().probability(np.array(mean), np.array(std**2))
        return float(p), std

    def _needed_posterior(self) -> Posterior:
        if self.posterior is None:
            raise CheckpointError(
                f"The checkpoint {self.directory} was saved without its posterior; train again to "
                "know how sure it is."
            )
        return self.posterior

    def scored(self, answer: EncodedAnswer, states: np.ndarray) -> ScoredResponse:
        """Scores from states [1 + T, H], row 0 being the prompt's last token."""
        values = self.head.token_values(states[1:])
        shares = self.head.contributions(states[1:])
        has_prompt = answer.response_start > 0
        tokens = align(answer, values.tolist(), shares.tolist())
        return ScoredResponse(
            reward=math.fsum(token.contribution for token in tokens),
            tokens=tokens,
            prompt_value=float(self.head.token_values(states[:1])[0]) if has_prompt else None,
            end_term=self.head.end_term(states[1:]),
            num_control_tokens=answer.num_control_tokens,
            num_dropped_turns=answer.num_dropped_turns,
        )


def default_backbones_dir() -> Path:
    """Where backbones are kept for checkpoints that lie in no data directory."""
    return Path.home() / ".cache" / "reward-studio" / "backbones"


def _backbones_beside(checkpoint_dir: Path) -> Path:
    """DATA/backbones of a checkpoint DATA/checkpoints/NAME, where it is there."""
    parent = checkpoint_dir.resolve().parent
    beside = parent.parent / "backbones"
    is_data_dir = parent.name == "checkpoints" and beside.is_dir()
    return beside if is_data_dir else default_backbones_dir()


# Responses scored in one forward; more only adds attention work.
_TOKENS_A_FORWARD = 2048


def _within_budget(answers: list[EncodedAnswer]) -> list[list[EncodedAnswer]]:
    parts: list[list[EncodedAnswer]] = []
    size = 0
    for answer in answers:
        if not parts or size + answer.num_response_tokens > _TOKENS_A_FORWARD:
            parts.append([])
            size = 0
        parts[-1].append(answer)
        size += answer.num_response_tokens
    return parts


def align(answer: EncodedAnswer, values: list[float], shares: list[float]) -> list[TokenScore]:
    """Token scores whose texts join to the response exactly.

    Tokens that share a character become one entry. Characters between two tokens (the tokenizer
    normalised them away) go to the token behind them, those after the last to the last. What the
    template dropped or a limit cut is an entry without a value.
    """
    text, (first, last) = answer.text, answer.kept
    num_text = len(values) - answer.num_end_tokens
    merged: list[tuple[int, int, list[int]]] = []
    for i, (start, end) in enumerate(answer.offsets[:num_text]):
        if merged and start < merged[-1][1]:
            begin, until, pieces = merged[-1]
            merged[-1] = (begin, max(until, end), [*pieces, i])
        else:
            merged.append((merged[-1][1] if merged else first, end, [i]))
    if merged and merged[-1][1] < last:
        merged[-1] = (merged[-1][0], last, merged[-1][2])
    entries = [_unscored(text, 0, first)] if first > 0 else []
    entries += [_entry(text, a, b, pieces, values, shares) for a, b, pieces in merged]
    done = merged[-1][1] if merged else first
    if done < len(text):
        entries.append(_unscored(text, done, len(text)))
    ends = range(num_text, len(values))
    entries += [_entry(text, len(text), len(text), [i], values, shares) for i in ends]
    return entries


def _entry(
    text: str, start: int, end: int, tokens: list[int], values: list[float], shares: list[float]
) -> TokenScore:
    return TokenScore(
        text=text[start:end],
        start=start,
        end=end,
        value=values[tokens[-1]],
        contribution=math.fsum(shares[i] for i in tokens),
        pieces=[{"value": values[i], "contribution": shares[i]} for i in tokens],
    )


def _unscored(text: str, start: int, end: int) -> TokenScore:
    return TokenScore(text[start:end], start, end, None, 0.0, [])
