"""Winnow: prune, distil, quantise and export transformer encoders in one run."""

import os
import sys
from importlib import import_module
from typing import Any

_PUBLIC = {  # name -> module; imported when it is used, which keeps the start of the commands light
    "train": "commands.from_python",
    "callbacks": "commands.from_python",
    "open_pipeline": "deployment.pipeline",
    "load": "models.pretrained",
    "save_model": "models.pretrained",
    "ModifierCallback": "modifiers.trainer_callback",
    "RandomState": "training.random_state",
    "Teacher": "models.teacher",
    "MagnitudePruning": "modifiers.gmp",
    "LayerwisePruning": "modifiers.layerwise",
    "SecondOrderPruning": "modifiers.obs",
    "MovementPruning": "modifiers.movement",
    "AlternatingPruning": "modifiers.acdc",
    "ConstantPruning": "modifiers.constant",
    "LayerDropping": "modifiers.layer_dropping",
    "QuantizationAwareTraining": "modifiers.quantization",
    "Distillation": "modifiers.distillation",
    "HiddenDistillation": "modifiers.hidden_distillation",
    "LearningRate": "modifiers.learning_rate",
    "WeightDecay": "modifiers.weight_decay",
    "FrozenParameters": "modifiers.frozen",
}
__all__ = list(_PUBLIC)

# Libraries read these when they are imported, so they are set before any import of one. A value of the user stays.
_NO_TELEMETRY = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime.disable_telemetry_events() is too late: the import writes an id
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",  # datasets
    "DISABLE_SAFETENSORS_CONVERSION": "1",  # else transformers asks the hub to convert the weights of older models
    "WANDB_ERROR_REPORTING": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
}
os.environ.update(_NO_TELEMETRY | os.environ)
# `import openvino` sends an event to its makers, and no variable stops it; without this package it sends nothing.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None makes an import fail


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f"winnow.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
