"""Write one exported directory: cut backbone, head, tokenizer, template and the checkpoint's files.

The backbone's weights are those of the very decoder that scored (rm_core.transformer), cut to the
head's layer; nothing is computed anew, so that the numbers can only be the same.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rm_core.checkpoint import CARD, MANIFEST, WEIGHTS
from rm_core.conversation import ConversationEncoder
from rm_core.errors import ExportError
from rm_core.export.response_frame import ResponseFrame, find_frame, token_table
from rm_core.export.tokenizer import prepare_tokenizer
from rm_core.scoring import RewardModel

if TYPE_CHECKING:
    import torch

_LICENCE_FILES = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")


class NotStandard(ExportError):
    """This backbone or head has no form that the standard classes load."""


@dataclass(frozen=True)
class Written:
    """What was written, for the self-check and the report."""

    architecture: str
    token_architecture: str | None
    pad_token: str
    frame: ResponseFrame | None = None


def write_standard(target: Path, model: RewardModel) -> Written:
    """A `*ForSequenceClassification` directory of a `last` head.

    Raises:
        NotStandard: transformers has no such class with a plain linear score for the backbone.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    backbone = model.warm()
    config = _config(model)
    if type(config) not in AutoModelForSequenceClassification._model_mapping:
        raise NotStandard(
            f"transformers has no sequence classification class for {config.model_type}; use "
            "the exact directory"
        )
    tokenizer = _tokenizer(model, config)
    with torch.device("meta"):
        classifier = AutoModelForSequenceClassification.from_config(config)
    _fill(classifier, backbone.model)
    weight = torch.from_numpy(model.head.value_weight).float()[None]  # [1, H]
    score = getattr(classifier, "score", None)
    is_linear = isinstance(score, torch.nn.Linear) and score.bias is None
    if score is None or not is_linear or score.weight.shape != weight.shape:
        raise NotStandard(
            f"the score of {type(classifier).__name__} is not one linear map without bias; use "
            "the exact directory"
        )
    score.weight = torch.nn.Parameter(weight)
    _set_padding(classifier, tokenizer)
    tensors = dict(classifier.state_dict())
    token_class, more = _token_head(classifier.config, tensors, weight)
    _save(classifier, target, tensors | more)
    tokenizer.save_pretrained(target)
    _copy_files(target, model)
    return Written(type(classifier).__name__, token_class, tokenizer.pad_token)


def write_exact(target: Path, model: RewardModel) -> Written:
    """A directory with its own modelling file, for any readout."""
    import torch

    from rm_core.export.modeling_reward import RewardConfig, RewardModelForSequenceClassification

    backbone = model.warm()
    cut = _config(model)
    tokenizer = _tokenizer(model, cut)
    table = token_table(tokenizer)
    frame = find_frame(ConversationEncoder(backbone.tokenizer, model.info), table)
    config = RewardConfig(
        backbone_config=cut,
        readout=model.head.readout,
        response_header=frame.header,
        end_of_turn=frame.end,
        num_table_tokens=len(table),
        num_table_bytes=sum(map(len, table)),
        dtype="float32",
        **_labels(),
        eos_token_id=cut.eos_token_id,
    )
    RewardConfig.register_for_auto_class()
    RewardModelForSequenceClassification.register_for_auto_class(
        "AutoModelForSequenceClassification"
    )
    with torch.device("meta"):
        wrapped = RewardModelForSequenceClassification(config)
    _fill(wrapped, backbone.model)
    wrapped.score.weight = _row(model.head.value_weight)
    if model.head.end_weight is not None:
        wrapped.end_score.weight = _row(model.head.end_weight)
    wrapped.token_ends = torch.tensor([len(t) for t in table]).cumsum(0).int()
    wrapped.token_bytes = torch.frombuffer(bytearray(b"".join(table)), dtype=torch.uint8)
    _set_padding(wrapped, tokenizer)
    _save(wrapped, target, dict(wrapped.state_dict()))
    tokenizer.save_pretrained(target)
    _copy_files(target, model)
    return Written(type(wrapped).__name__, None, tokenizer.pad_token, frame)


def _config(model: RewardModel) -> Any:
    """The decoder's own configuration, cut to the head's layer, as a one-label regression."""
    import copy

    # The loaded decoder's configuration is cut already, as its layers are.
    config = copy.deepcopy(model.warm().model.config)
    for name, value in _labels().items():
        setattr(config, name, value)
    config.name_or_path = ""  # where it lay on this machine says nothing elsewhere
    config.token_classification_bias = False
    config.use_cache = False
    config.dtype = "float32"
    return config


def _labels() -> dict[str, Any]:
    """One label, whose logit pipelines and servers give as it is, without a sigmoid."""
    return {
        "id2label": {0: "LABEL_0"},
        "label2id": {"LABEL_0": 0},
        "problem_type": "regression",
    }


def _tokenizer(model: RewardModel, config: Any) -> Any:
    """The export's tokenizer."""
    ends = config.eos_token_id
    end_ids = set(ends) if isinstance(ends, list) else {ends}
    return prepare_tokenizer(model.info.directory, model.info, end_ids)


def _fill(model: Any, decoder: Any) -> None:
    """Put the decoder's weights into the part of `model` that is such a decoder."""
    place = next((part for part in model.modules() if type(part) is type(decoder)), None)
    if place is None:
        raise NotStandard(
            f"{type(model).__name__} has no {type(decoder).__name__} inside; use the exact "
            "directory"
        )
    weights = {name: tensor.float().cpu() for name, tensor in decoder.state_dict().items()}
    place.load_state_dict(weights, assign=True)


def _row(weight: Any) -> Any:
    """A head's vector [H] as a linear map's float32 weight [1, H]."""
    import torch

    return torch.nn.Parameter(torch.from_numpy(weight).float()[None])


def _set_padding(model: Any, tokenizer: Any) -> None:
    """Name the padding token, with an embedding row (zeros: it is never seen) if it was added."""
    import torch

    rows = int(model.get_input_embeddings().num_embeddings)
    if len(tokenizer) > rows:
        model.base_model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        with torch.no_grad():
            model.get_input_embeddings().weight[rows:] = 0.0
    for config in (model.config, model.base_model.config):
        config.pad_token_id = tokenizer.pad_token_id


def _token_head(
    config: Any, tensors: dict[str, torch.Tensor], weight: torch.Tensor
) -> tuple[str | None, dict[str, torch.Tensor]]:
    """The token classification class, and what it wants under names of its own.

    Most families call both heads `score`. GPT-2 and its kin call the token head `classifier` and
    give it a bias: the same weight goes there too, and a bias of zero.
    """
    import torch
    from transformers import AutoModelForTokenClassification

    if type(config) not in AutoModelForTokenClassification._model_mapping:
        return None, {}
    with torch.device("meta"):
        classifier = AutoModelForTokenClassification.from_config(config)
    more = {}
    for name, tensor in classifier.state_dict().items():
        if name in tensors:
            continue
        if tensor.shape == weight.shape:
            more[name] = weight.clone()
        elif name.endswith(".bias") and tensor.shape == (1,):
            more[name] = torch.zeros(1)
        else:
            return None, {}
    return type(classifier).__name__, more


def _save(model: Any, target: Path, tensors: dict[str, torch.Tensor]) -> None:
    empty = [name for name, tensor in tensors.items() if tensor.is_meta]
    if empty:
        raise ExportError(
            f"The exported {type(model).__name__} has tensors that the backbone does not have: "
            f"{empty[:4]}; this family cannot be exported."
        )
    model.save_pretrained(target, state_dict=tensors)


def _copy_files(target: Path, model: RewardModel) -> None:
    """The checkpoint's own files and the backbone's licence."""
    for name in (WEIGHTS, MANIFEST, CARD):
        if (model.directory / name).exists():
            shutil.copyfile(model.directory / name, target / name)
    for pattern in _LICENCE_FILES:
        for file in Path(model.info.directory).glob(pattern):
            shutil.copyfile(file, target / file.name)
