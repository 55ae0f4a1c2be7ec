"""Finding and describing backbones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rm_core.backbone import BackboneInfo, choose_device, prepare
from rm_core.errors import BackboneError
from tests.tiny_backbone import build_tiny_backbone


def test_a_directory_is_described_and_the_description_reads_back(info: BackboneInfo) -> None:
    assert (info.num_layers, info.hidden_size, info.max_context) == (4, 32, 4096)
    assert "<|im_end|>" in info.control_tokens
    assert BackboneInfo.from_dict(json.loads(json.dumps(info.as_dict()))) == info


def test_a_prepared_backbone_needs_neither_torch_nor_transformers(
    info: BackboneInfo, tmp_path: Path
) -> None:
    prepare(info.directory, tmp_path)
    code = (
        "import sys; from pathlib import Path; from rm_core.backbone import prepare;"
        f"print(prepare({info.directory!r}, Path({str(tmp_path)!r})).revision);"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == info.revision


def test_other_weights_or_another_template_are_another_fingerprint(tmp_path: Path) -> None:
    one = prepare(str(build_tiny_backbone(tmp_path / "one", seed=1)), tmp_path / "cache")
    two = prepare(str(build_tiny_backbone(tmp_path / "two", seed=2)), tmp_path / "cache")
    assert one.fingerprint() != two.fingerprint()
    assert one.fingerprint() != one.fingerprint("bfloat16")
    template = tmp_path / "one" / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|im_start|>", "<|im_end|>"))
    changed = prepare(str(tmp_path / "one"), tmp_path / "cache")
    assert changed.revision == one.revision
    assert changed.fingerprint() != one.fingerprint()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("./nowhere", "No backbone at './nowhere'"),
        ("not a name", "No backbone at 'not a name'"),
        ("someone/something", "neither a directory here nor to be had from the hub"),
    ],
)
def test_an_unknown_backbone_is_named_in_the_error(tmp_path: Path, spec: str, message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        prepare(spec, tmp_path)


def test_pickled_weights_are_never_loaded(tmp_path: Path) -> None:
    directory = build_tiny_backbone(tmp_path / "pickled")
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    with pytest.raises(BackboneError, match=r"no \*.safetensors file .*pytorch_model.bin"):
        prepare(str(directory), tmp_path / "cache")


def test_a_directory_without_a_config_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BackboneError, match=r"there is no config\.json"):
        prepare(str(tmp_path / "empty"), tmp_path / "cache")


def test_a_file_that_is_no_gguf_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "fake.gguf").write_bytes(b"this is not a model" * 100)
    with pytest.raises(BackboneError, match="cannot be converted"):
        prepare(str(tmp_path / "fake.gguf"), tmp_path / "cache")
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


def test_a_device_that_is_not_there_is_refused() -> None:
    import torch

    assert choose_device("cpu") == "cpu"
    if not torch.cuda.is_available():
        assert choose_device("auto") == "cpu"
        with pytest.raises(BackboneError, match="no CUDA device"):
            choose_device("cuda:0")


def test_weights_cut_short_are_found_before_any_job_needs_them(tmp_path: Path) -> None:
    directory = build_tiny_backbone(tmp_path / "cut")
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(BackboneError, match=r"cut short .*fetch it again"):
        prepare(str(directory), tmp_path / "cache")


def test_an_encoder_is_refused_though_it_can_be_loaded_as_a_decoder(tmp_path: Path) -> None:
    directory = build_tiny_backbone(tmp_path / "encoder")
    config = {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 4}
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(BackboneError, match="of the kind 'bert', which is no decoder"):
        prepare(str(directory), tmp_path / "cache")


def test_a_gguf_file_is_converted_once_wherever_it_lies_and_whatever_its_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rm_core import backbone

    converted: list[Path] = []

    def convert(file: Path, target: Path) -> None:
        converted.append(file)
        build_tiny_backbone(target)

    monkeypatch.setattr(backbone, "_convert_gguf", convert)
    one, two = tmp_path / "one" / "m.gguf", tmp_path / "two" / "m.gguf"
    for file in (one, two):
        file.parent.mkdir()
        file.write_bytes(b"GGUF and some weights")
    os.utime(two, (1, 1))
    cache = tmp_path / "cache"
    first = prepare(str(one), cache)
    assert prepare(str(two), cache).fingerprint() == first.fingerprint()
    assert converted == [one]
    # As older versions named it: by the file's date.
    Path(first.directory).rename(cache / "m-by-date")
    record = next((cache / "described").glob("*.json"))
    fields = json.loads(record.read_text()) | {"directory": str(cache / "m-by-date")}
    record.write_text(json.dumps(fields))
    assert prepare(str(two), cache).directory == str(cache / "m-by-date")
    assert converted == [one]
    two.write_bytes(b"GGUF and other weights")
    prepare(str(two), cache)
    assert converted == [one, two]
