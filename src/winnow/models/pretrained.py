"""Loading students, teachers and tokenizers: hub names, local folders, run folders, or a config to build from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.errors import UserError
from winnow.files.local_files import looks_local, resolve_model_folder
from winnow.models.quantized_model import QUANTIZERS, quantizers, restore_quantizers, rounded_state, save_quantizers


def load_tokenizer(model: Mapping[str, Any], **options: Any) -> PreTrainedTokenizerBase:
    """The tokenizer of a model section; a model built from a config gets the embedded one.

    Args:
        model: the ``model`` section.
        options: the task's ``tokenizer_options``; they are saved with the tokenizer.
    """
    if model["config"] is not None:
        return tiny_tokenizer()
    return _from_hub_or_folder(AutoTokenizer, model["name"], **options)


def load_student(model: Mapping[str, Any], task: Any, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """The model to train, in float32, with the head of the task.

    A head of another shape, or for other labels, is replaced by a new one; ``model.new_head`` says whether
    the head is untrained.
    """
    settings = task.head_settings()
    if model["config"] is not None:
        config = AutoConfig.for_model(
            **model["config"], vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **settings
        )
        student = task.auto_model.from_config(config)
        student.new_head = True
        return student
    student, report = _from_hub_or_folder(
        task.auto_model,
        model["name"],
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        **settings,
    )
    student.new_head = bool(report["missing_keys"]) or bool(report["mismatched_keys"])
    if not student.new_head and _has_other_labels(model["name"], task):
        _renew_head(student)
        student.new_head = True
    return student.train()  # from_pretrained returns it without dropout, and Lightning leaves it as it is


def _has_other_labels(name: str, task: Any) -> bool:
    """True if the head of a saved model has names for its outputs, and they are not the task's in its order."""
    saved = _from_hub_or_folder(AutoConfig, name).id2label
    names = [str(saved[i]) for i in range(len(saved))]
    generic = [f"LABEL_{i}" for i in range(len(saved))]
    return bool(task.labels) and names not in (generic, task.labels)


def _renew_head(model: PreTrainedModel) -> None:
    for part in model.children():
        if part is not model.base_model:
            for module in part.modules():
                if hasattr(module, "reset_parameters"):
                    module.reset_parameters()


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a model as a plain Hugging Face folder; that of a quantised one has its grids in a file beside."""
    tokenizer.save_pretrained(folder)
    if quantizers(model):
        model.save_pretrained(folder, state_dict=rounded_state(model))
        save_quantizers(model, folder)
    else:
        model.save_pretrained(folder)


def load_saved(folder: Path, task: Any) -> PreTrainedModel:
    """A model that a run saved, in float32, ready to be scored as it will be deployed."""
    model = task.auto_model.from_pretrained(folder, dtype=torch.float32).eval()
    if (folder / QUANTIZERS).is_file():
        restore_quantizers(model, folder)
    return model


def _from_hub_or_folder(auto_class: Any, name: str, **options: Any) -> Any:
    source = resolve_model_folder(name) if looks_local(name) else name
    try:
        return auto_class.from_pretrained(source, **options)
    except Exception as error:
        if looks_local(name):
            raise UserError(f"model.name={name}: the model could not be read ({_short(error)}).") from error
        raise UserError(
            f"model.name={name} is no local folder and could not be read from the hub ({_short(error)}). "
            "Without a connection name a local folder: model.name=FOLDER."
        ) from error


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0].rstrip('.')}"
