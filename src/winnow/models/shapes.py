"""The shape of a model without its weights, for a plan: parameters with names and sizes, and no values."""

from collections.abc import Mapping
from typing import Any

import torch
import yaml
from transformers import AutoConfig, PreTrainedModel

from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.errors import UserError
from winnow.files.conf_folder import CONF
from winnow.files.local_files import looks_local, resolve_model_folder


def shape_of(model: Mapping[str, Any], task: Any) -> PreTrainedModel:
    """The model that `winnow.models.pretrained.load_student` would load, on torch's meta device.

    Of a hub model that is named in conf/model nothing is downloaded, of another its config.json alone.

    Args:
        model: the ``model`` section.
        task: whose head it gets.
    """
    settings, known = task.head_settings(), _known_shapes(model["name"])
    if model["config"] is not None:
        config = AutoConfig.for_model(**model["config"], vocab_size=len(tiny_tokenizer()), **settings)
    elif looks_local(model["name"]):
        config = AutoConfig.from_pretrained(resolve_model_folder(model["name"]), **settings)
    elif known is not None:
        config = AutoConfig.for_model(**known, **settings)
    else:
        try:
            config = AutoConfig.from_pretrained(model["name"], **settings)
        except Exception as error:
            raise UserError(
                f"model.name={model['name']}: its shape is not known here and its config.json could not be read from "
                "the hub; name a local folder with model.name=FOLDER."
            ) from error
    with torch.device("meta"):
        return task.auto_model.from_config(config)


def _known_shapes(name: str) -> Mapping[str, Any] | None:
    for path in sorted((CONF / "model").glob("*.yaml")):
        shipped = yaml.safe_load(path.read_text())
        if shipped["name"] == name:
            return shipped["shapes"]
    return None
