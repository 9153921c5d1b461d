"""The shape of a model for a plan: its parameters by name and size, without values."""

from collections.abc import Mapping
from typing import Any

import torch
import yaml
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from winnow.config.model import Model
from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.errors import UserError
from winnow.files.conf_folder import CONF
from winnow.files.local_files import looks_local, resolve_model_folder
from winnow.models.pretrained import architecture, from_pretrained, new_model
from winnow.models.structures import restore_structure
from winnow.tasks.task import Task


def shape_of(model: Model, task: Task) -> PreTrainedModel:
    """The model that `winnow.models.pretrained.load_student` would load, on torch's meta device.

    For a hub model in conf/model nothing is downloaded; for another only its config.json is.

    Args:
        model: the ``model`` section.
        task: whose head it gets.
    """
    shape = stock_shape(model, task)
    if model.config is None and looks_local(model.name):
        restore_structure(shape, resolve_model_folder(model.name))
    return shape


def stock_shape(model: Model, task: Task) -> PreTrainedModel:
    """The same with all heads and neurons."""
    config = configuration(model, **task.head_settings())
    with torch.device("meta"):
        return new_model(task, config)


def configuration(model: Model, **head: Any) -> PreTrainedConfig:
    """The configuration of a model, with the settings of a head.

    Raises:
        UserError: for a hub model that is not in conf/model and cannot be reached.
    """
    known = _known_shapes(model.name)
    if model.config is not None:
        return architecture(model.config, vocab_size=len(tiny_tokenizer()), **head)
    if looks_local(model.name):
        config: PreTrainedConfig = from_pretrained(AutoConfig, resolve_model_folder(model.name), **head)
        return config
    if known is not None:
        return architecture(known, **head)
    try:
        config = from_pretrained(AutoConfig, model.name, **head)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"model.name={model.name}: conf/model does not give its shape, and its config.json could not be read "
            "from the hub; name a local folder with model.name=FOLDER."
        ) from error
    return config


def _known_shapes(name: str) -> Mapping[str, Any] | None:
    for path in sorted((CONF / "model").glob("*.yaml")):
        shipped = yaml.safe_load(path.read_text())
        if shipped["name"] == name:
            shapes: Mapping[str, Any] | None = shipped["shapes"]
            return shapes
    return None
