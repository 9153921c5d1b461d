"""Loading students, teachers and tokenizers: hub names, local folders, run folders, or a config to build from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from winnow.config.model import Model
from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.errors import UserError, nearest
from winnow.files.checksums import write_sums
from winnow.files.local_files import looks_local, resolve_model_folder
from winnow.models.finite import check_weights
from winnow.models.quantized_model import QUANTIZERS, quantizers, restore_quantizers, rounded_state, save_quantizers
from winnow.models.structures import padded_state, restore_structure, save_structure
from winnow.tasks.task import Task

# Settings of a model that transformers reads where they are there, and that its configuration has no default for.
_WITHOUT_DEFAULT = {"deberta-v2": ("conv_kernel_size", "norm_rel_ebd", "position_buckets", "share_att_key")}


def from_pretrained(auto_class: Any, source: str | Path, **options: Any) -> Any:
    """``auto_class.from_pretrained``, which runs no code of the folder or the hub; by default it asks the user.

    Raises:
        UserError: for a model or a tokenizer that needs such code.
    """
    try:
        return auto_class.from_pretrained(source, trust_remote_code=False, **options)
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise UserError(
            f"{source}: its configuration names Python code of its own (auto_map), which Winnow does not run; name a "
            "model of a kind that transformers has."
        ) from error


def load_tokenizer(model: Model, **options: Any) -> PreTrainedTokenizerBase:
    """The tokenizer of a model; a model that is built from scratch gets the embedded one.

    Args:
        model: the section.
        options: the task's ``tokenizer_options``; they are saved with the tokenizer.
    """
    if model.config is not None:
        return tiny_tokenizer()
    tokenizer: PreTrainedTokenizerBase = _from_hub_or_folder(AutoTokenizer, model.name, **options)
    return tokenizer


def load_student(model: Model, task: Task, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """The model to train, in float32, with the head of the task, and without the structures that a run has removed.

    A head of another shape, or for other labels, is replaced by a new one; ``model.new_head`` says whether
    the head is untrained.
    """
    settings = task.head_settings()
    if model.config is not None:
        config = architecture(model.config, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **settings)
        student = new_model(task, config)
        student.new_head = True  # type: ignore[assignment]  # a module takes plain attributes too
        return student
    student, report = _from_hub_or_folder(
        task.auto_model,
        model.name,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        **settings,
    )
    check_weights(student, f"model.name={model.name}", "name another model")
    student.new_head = bool(report["missing_keys"]) or bool(report["mismatched_keys"])
    if not student.new_head and _has_other_labels(model.name, task):
        _renew_head(student)
        student.new_head = True
    if looks_local(model.name):
        restore_structure(student, resolve_model_folder(model.name))
    trainable: PreTrainedModel = student.train()  # from_pretrained returns it in evaluation mode, which Lightning keeps
    return trainable


def architecture(config: Mapping[str, Any], **settings: Any) -> PreTrainedConfig:
    """The configuration of a model that is built from scratch.

    Args:
        config: ``model.config``, with its ``model_type``.
        settings: of the tokenizer and the head, which ``config`` cannot change.

    Raises:
        UserError: for a model type that transformers does not have, or a setting that the model does not have.
    """
    kind = str(config["model_type"])
    try:
        known = AutoConfig.for_model(kind).to_dict()
    except (ValueError, KeyError) as error:
        raise UserError(f"model.config.model_type={kind}: transformers has no such model.") from error
    for name in config:
        if name in settings:
            raise UserError(f"model.config.{name} has no effect: the tokenizer and the task set it; leave it out.")
        if name not in known and name not in _WITHOUT_DEFAULT.get(kind, ()):
            raise UserError(f"model.config.{name} is not a setting of {kind} models.{nearest(name, known)}")
    try:
        return AutoConfig.for_model(**config, **settings)
    except Exception as error:  # transformers checks values in many ways
        raise UserError(f"model.config: no {kind} model can be built from it ({_short(error)}).") from error


def new_model(task: Task, config: PreTrainedConfig) -> PreTrainedModel:
    """A model with new weights and the head of the task."""
    try:
        model: PreTrainedModel = task.auto_model.from_config(config)
    except Exception as error:
        raise UserError(
            f"model.config: no {config.model_type} model can be built from it ({_short(error)})."
        ) from error
    return model


def _has_other_labels(name: str, task: Task) -> bool:
    """True if the outputs of a saved head have names that are not the task's labels in their order."""
    saved = _from_hub_or_folder(AutoConfig, name).id2label
    names = [str(saved[i]) for i in range(len(saved))]
    generic = [f"LABEL_{i}" for i in range(len(saved))]
    return bool(task.labels) and names not in (generic, task.labels)


def _renew_head(model: PreTrainedModel) -> None:
    for part in model.children():
        if part is not model.base_model:
            for module in part.modules():
                reset: Any = getattr(module, "reset_parameters", None)
                if reset is not None:
                    reset()


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a tokenizer without the truncation and padding of its last call, which transformers would write too."""
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(folder)


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> None:
    """Write a model as a plain Hugging Face folder, with zeros in place of structures that were removed.

    Files beside the weights contain the structures that are left, the grids of a quantised model, and the checksums.
    """
    folder = Path(folder)
    save_tokenizer(tokenizer, folder)
    state = rounded_state(model) if quantizers(model) else model.state_dict()
    model.save_pretrained(folder, state_dict=padded_state(model, state))
    save_structure(model, folder)
    if quantizers(model):
        save_quantizers(model, folder)
    write_sums(folder)


def load_saved(folder: Path, task: Task) -> PreTrainedModel:
    """A model that a run saved, in float32 and evaluation mode: with its structures, and quantised if the run was."""
    return _restored(task.auto_model, folder)


def load(folder: str | Path) -> PreTrainedModel:
    """The model of a finished run as it was trained: without removed heads and neurons, with the rounding to integers.

    Args:
        folder: of the run, or the ``model/`` in it; other folders that ``save_pretrained`` wrote are opened too.

    Returns:
        A model of transformers in float32 and evaluation mode. Its weights are smaller than its configuration says
        where heads and neurons were removed, so save it by copying the folder.

    Raises:
        UserError: if there is no such folder, or it is damaged.
    """
    source = resolve_model_folder(str(folder), "folder")
    architectures = from_pretrained(AutoConfig, source).architectures or ["none"]
    auto_class = getattr(transformers, architectures[0], None)
    if auto_class is None:
        raise UserError(f"folder={folder}: its config.json names no class of transformers (architectures).")
    return _restored(auto_class, source)


def _restored(auto_class: Any, folder: Path) -> PreTrainedModel:
    model: PreTrainedModel = from_pretrained(auto_class, folder, dtype=torch.float32)
    restore_structure(model, folder)
    model.train(False)
    if (folder / QUANTIZERS).is_file():
        restore_quantizers(model, folder)
    return model


def _from_hub_or_folder(auto_class: Any, name: str, **options: Any) -> Any:
    source = resolve_model_folder(name) if looks_local(name) else name
    try:
        return from_pretrained(auto_class, source, **options)
    except UserError:
        raise
    except Exception as error:
        if looks_local(name):
            raise UserError(f"model.name={name}: the model could not be read ({_short(error)}).") from error
        raise UserError(
            f"model.name={name} is no local folder and could not be read from the hub ({_short(error)}). "
            "Without a connection name a local folder: model.name=FOLDER."
        ) from error


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0].rstrip('.')}"
