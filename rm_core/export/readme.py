"""The README.md of an exported directory: how each consumer loads it, its figures, its limits."""

from __future__ import annotations

from rm_core.export.report import ExportedDirectory, ExportReport, stated
from rm_core.model_card import model_card
from rm_core.scoring import RewardModel

_STANDARD = """```python
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(directory)
model = AutoModelForSequenceClassification.from_pretrained(directory)
text = tokenizer.apply_chat_template(messages, tokenize=False)   # ends in the assistant's answer
batch = tokenizer([text], return_tensors="pt", padding=True, add_special_tokens=False)
rewards = model(**batch).logits[:, 0]
```

`pipeline("text-classification", model=directory)(text)` gives the same number, without a sigmoid.
TRL: `GRPOTrainer(reward_funcs=directory, …)` with conversational prompts.
"""
_TOKENS = """`AutoModelForTokenClassification.from_pretrained(directory)` gives every token's value.
"""
_EXACT = """```python
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=True)
model = AutoModelForSequenceClassification.from_pretrained(directory, trust_remote_code=True)
text = tokenizer.apply_chat_template(messages, tokenize=False)   # ends in the assistant's answer
batch = tokenizer([text], return_tensors="pt", padding=True, add_special_tokens=False)
out = model(**batch)
rewards, shares = out.logits[:, 0], out.contributions            # the shares add up to the reward
```

`modeling_reward.py` in this directory is all the code that it runs.
"""


def readme(one: ExportedDirectory, report: ExportReport, model: RewardModel) -> str:
    """Markdown for people who find the directory on its own."""
    uses = _EXACT if one.kind == "exact" else _STANDARD
    if one.token_architecture:
        uses += "\n" + _TOKENS
    limits = "".join(f"- {limit[0].upper()}{limit[1:]}.\n" for limit in one.limits)
    backbone = model.manifest["backbone"]
    return f"""# Reward model on {backbone["name"]}

{_which(one, report)}

{uses}
Render with this tokenizer's own chat template and add no special tokens: the last id is the end of
the assistant's turn, and there the score is read. Padding is `{one.pad_token}`. On loading,
{one.check.num_rewards} rewards were compared with the studio's own, alone and padded: they differ
by at most {one.check.max_difference:.1e} and spread by {one.check.reward_spread:.2g}.

{limits}
The backbone's weights are those of `{backbone["name"]}`, revision `{backbone["revision"][:16]}`,
cut to {one.layer} of {backbone["num_layers"]} layers; its licence applies.

{model_card(model.manifest).replace("# ", "## ")}"""


def _which(one: ExportedDirectory, report: ExportReport) -> str:
    own = stated(one.accuracy, one.accuracy_ci, one.evaluation)
    if one.readout == report.readout:
        return f"Readout `{one.readout}`, {own}."
    original = stated(report.accuracy, report.accuracy_ci, report.evaluation)
    return (
        f"A `last` head fitted to the same votes as a `{report.readout}` head, since the standard "
        f"classes read the last token only: {own}. The original, in `exact/`: {original}."
    )
