"""The reward of the readouts `last`, `mean` and `mean+last` as a Hugging Face model.

This file travels inside an exported directory and needs torch and transformers only:

    model = AutoModelForSequenceClassification.from_pretrained(directory, trust_remote_code=True)
    rewards = model(**batch).logits[:, 0]

With h_t the backbone's state at response token t = 1 … T, the end of turn being T:

    last         w·h_T
    mean         (1/T) sum_t w·h_t
    mean+last    (1/T) sum_t w·h_t + u·h_T

Which ids are the response is read from the ids themselves: their bytes are joined, and the response
begins with the first token that reaches past the last occurrence of `config.response_header` (what
the chat template writes before an answer). A response whose own text spells that header would be
read from behind it; whoever knows better passes `response_mask`.
"""

from __future__ import annotations

import bisect
import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput


class RewardConfig(PretrainedConfig):
    """A backbone's configuration with the readout on top of it.

    Attributes:
        backbone_config: of the decoder, cut to the layer that is read.
        readout: "last", "mean" or "mean+last".
        response_header: the text before every answer, as the chat template writes it.
        end_of_turn: the text behind every answer, its last token being the score position.
        num_table_tokens, num_table_bytes: sizes of the table from ids to bytes.
    """

    model_type = "reward_readout"
    sub_configs = {"backbone_config": AutoConfig}  # noqa: RUF012 - transformers' own form

    def __init__(
        self,
        backbone_config: Any = None,
        readout: str = "last",
        response_header: str = "",
        end_of_turn: str = "",
        num_table_tokens: int = 0,
        num_table_bytes: int = 0,
        **kwargs: Any,
    ) -> None:
        if isinstance(backbone_config, dict):
            fields = dict(backbone_config)
            backbone_config = AutoConfig.for_model(fields.pop("model_type"), **fields)
        self.backbone_config = backbone_config
        self.readout = readout
        self.response_header = response_header
        self.end_of_turn = end_of_turn
        self.num_table_tokens = num_table_tokens
        self.num_table_bytes = num_table_bytes
        super().__init__(**kwargs)


@dataclass
class RewardOutput(ModelOutput):
    """What a forward gives.

    Attributes:
        logits: [B, 1] the rewards.
        contributions: [B, N] each id's share; a row's shares add up to its reward.
        token_values: [B, N] w·h at every id, of the prompt's too.
        response_mask: [B, N] True for the ids of the response and its end of turn.
    """

    logits: torch.Tensor | None = None
    contributions: torch.Tensor | None = None
    token_values: torch.Tensor | None = None
    response_mask: torch.Tensor | None = None


class RewardModelForSequenceClassification(PreTrainedModel):
    """The cut backbone with its linear head and readout."""

    config_class = RewardConfig
    base_model_prefix = "model"
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    token_ends: torch.Tensor
    token_bytes: torch.Tensor
    # Rewards in bfloat16 would come in coarse steps.
    _keep_in_fp32_modules_strict = ["score", "end_score"]  # noqa: RUF012 - transformers' own form

    def __init__(self, config: RewardConfig) -> None:
        super().__init__(config)
        self.num_labels = 1
        width = _state_width(config.backbone_config)
        self.model = AutoModel.from_config(config.backbone_config)
        self.score = nn.Linear(width, 1, bias=False)
        if config.readout == "mean+last":
            self.end_score = nn.Linear(width, 1, bias=False)
        # The bytes of token i are token_bytes[token_ends[i - 1] : token_ends[i]].
        self.register_buffer("token_ends", torch.zeros(config.num_table_tokens, dtype=torch.int32))
        self.register_buffer("token_bytes", torch.zeros(config.num_table_bytes, dtype=torch.uint8))
        self._table: tuple[list[int], bytes] | None = None
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        response_mask: torch.Tensor | None = None,
        **_: Any,
    ) -> RewardOutput:
        """Rewards of a batch of whole conversations [B, N], padded on either side."""
        if attention_mask is None:
            attention_mask = self._not_padding(input_ids)
        seen = attention_mask.bool()
        # A decoder that has no cache does not know the argument.
        inputs: dict[str, Any] = {"use_cache": False} if self._takes("use_cache") else {}
        if not bool(seen[:, 0].all()) and self._takes("position_ids"):
            # Padded on the left: absolute positions must start at the first real id.
            inputs["position_ids"] = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
        out = self.model(input_ids=input_ids, attention_mask=attention_mask, **inputs)
        states = out.last_hidden_state.float()  # [B, N, H]
        values = nn.functional.linear(states, self.score.weight.float())[..., 0]  # [B, N]
        if response_mask is None:
            response_mask = self.response_mask(input_ids, attention_mask)
        mask = response_mask.to(values.device).bool() & seen
        index = torch.arange(mask.shape[1], device=values.device)
        is_end = index[None] == (index * mask).argmax(-1)[:, None]  # [B, N]
        if self.config.readout == "last":
            shares = values * is_end
        else:
            shares = values * mask / mask.sum(-1, keepdim=True)
        if self.config.readout == "mean+last":
            end = nn.functional.linear(states, self.end_score.weight.float())[..., 0]
            shares = shares + end * is_end
        return RewardOutput(
            logits=shares.sum(-1, keepdim=True),
            contributions=shares,
            token_values=values,
            response_mask=mask,
        )

    def response_mask(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """[B, N] True for the response and its end of turn, read from the ids.

        Raises:
            ValueError: a row without the text that the chat template writes before an answer.
        """
        if attention_mask is None:
            attention_mask = self._not_padding(input_ids)
        mask = torch.zeros(input_ids.shape, dtype=torch.bool)
        rows = zip(input_ids.tolist(), attention_mask.tolist(), strict=True)
        for number, (ids, attended) in enumerate(rows):
            places = [place for place, is_seen in enumerate(attended) if is_seen]
            begin = self._response_start([ids[place] for place in places])
            if begin is None:
                raise ValueError(
                    f"Row {number} of the batch has no answer behind the text "
                    f"{self.config.response_header!r}, so its response cannot be found; render "
                    "the conversation with the tokenizer's chat template, or pass response_mask."
                )
            mask[number, places[begin:]] = True
        return mask.to(input_ids.device)

    def _response_start(self, ids: list[int]) -> int | None:
        """Index of the first id that reaches past the last header; None without one."""
        if self._table is None:
            self._table = self.token_ends.tolist(), bytes(self.token_bytes.tolist())
        ends, table = self._table
        text, reaches = b"", []
        for token in ids:
            if token < len(ends):
                text += table[ends[token - 1] if token else 0 : ends[token]]
            reaches.append(len(text))
        header = self.config.response_header.encode()
        # The end of turn may be the same text as the header, as in `prompt<eos>answer<eos>`.
        body = text.removesuffix(self.config.end_of_turn.encode())
        found = body.rfind(header)
        begin = bisect.bisect_right(reaches, found + len(header))
        return None if found < 0 or begin == len(ids) else begin

    def _not_padding(self, input_ids: torch.Tensor) -> torch.Tensor:
        if self.config.pad_token_id is None:
            return torch.ones_like(input_ids)
        return (input_ids != self.config.pad_token_id).long()

    def _takes(self, name: str) -> bool:
        return name in inspect.signature(self.model.forward).parameters


def _state_width(config: Any) -> int:
    """H: OPT projects its states to another width."""
    return int(getattr(config, "word_embed_proj_dim", None) or config.hidden_size)
