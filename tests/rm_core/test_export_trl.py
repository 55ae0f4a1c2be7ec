"""TRL trains with an exported model as its reward, and the rewards it sees are the studio's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from tests.rm_core.test_export import Exported, build_backbone, export
from tests.tiny_backbone import build_tiny_backbone

pytestmark = [
    # TRL and transformers among themselves: names that one still uses and the other renames.
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning"),
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    root = tmp_path_factory.mktemp("reward")
    backbone = build_backbone(root / "backbone", "qwen3", pad_token="<|im_end|>")
    return export(root, backbone, "mean")


@pytest.mark.parametrize("part", ["", "exact"])
def test_grpo_takes_two_steps_with_the_studios_rewards(
    exported: Exported, tmp_path: Path, part: str
) -> None:
    from trl import GRPOConfig, GRPOTrainer

    seen: list[tuple[list[Any], list[Any], list[float]]] = []

    class Watched(GRPOTrainer):
        """Keeps what was rewarded, and how."""

        def _calculate_rewards(
            self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any
        ) -> Any:
            rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
            seen.append((prompts, completions, rewards[:, 0].tolist()))
            return rewards

    prompts = [[{"role": "user", "content": f"Say {number}."}] for number in range(8)]
    trainer = Watched(
        model=str(build_tiny_backbone(tmp_path / "policy", num_layers=1)),
        reward_funcs=str(exported.out / part),
        args=GRPOConfig(
            output_dir=str(tmp_path / "trained"),
            max_steps=2,
            per_device_train_batch_size=4,
            num_generations=2,
            max_completion_length=8,
            trust_remote_code=part == "exact",
            gradient_checkpointing=False,
            use_cpu=True,
            bf16=False,
            save_strategy="no",
            report_to=[],
            logging_steps=1,
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_dict({"prompt": prompts}),
    )
    trainer.train()
    assert trainer.state.global_step == 2
    assert len(seen) == 2
    if part == "exact":
        model = exported.model
    else:
        model = type(exported.model).from_checkpoint(
            exported.checkpoint.parent / "head-last",
            backbones_dir=exported.out.parent / "backbones",
            device="cpu",
        )
    for asked, answered, rewards in seen:
        pairs = zip(asked, answered, strict=True)
        wanted = [model.score(p, [c[-1]["content"]])[0] for p, c in pairs]
        assert rewards == pytest.approx(wanted, abs=1e-3)
