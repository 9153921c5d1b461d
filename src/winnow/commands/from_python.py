"""Trainings and recipes from Python, by the words of the command line."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from torch import nn
from transformers import PreTrainedModel

from winnow.commands.hydra_errors import described_errors
from winnow.commands.train import run_one
from winnow.config.resolve import run_config
from winnow.errors import UserError
from winnow.files.conf_folder import CONF
from winnow.files.run_files import read_result
from winnow.models.pretrained import load
from winnow.models.teacher import as_teacher
from winnow.modifiers.modifier import Modifier, build_modifiers
from winnow.path_arguments import literal_paths
from winnow.signals import stoppable


@dataclass(frozen=True)
class Run:
    """A training that has ended.

    Args:
        folder: of the run.
        result: its ``result.json``.
    """

    folder: Path
    result: dict[str, Any]

    @property
    def metrics(self) -> dict[str, float]:
        """On the validation split, the metric that chose the best model first."""
        return dict(self.result["metrics"])

    @property
    def model(self) -> PreTrainedModel:
        """The best model, read from the folder anew by `winnow.load`."""
        return load(self.folder)


def train(*overrides: str, **choices: Any) -> Run:
    """What ``winnow train`` does, in this process: ``train("recipe.num_epochs=3", task="sst2", recipe="prune80")``.

    Args:
        overrides: as on the command line.
        choices: the same by name; of names with dots ``**{"task.data.path": folder}``. ``teacher=None`` is
            ``teacher=none``.

    Raises:
        UserError: for what the command refuses, with the same message.
    """
    arguments = [*overrides, *(f"{name}={_written(value, name)}" for name, value in choices.items())]
    folders = []

    def run(composed: DictConfig) -> None:
        if run_config(composed, arguments).trainer.data_parallel:
            raise UserError("winnow.train has one process; train on several devices with the command `winnow train`.")
        folders.append(run_one(composed, Path(HydraConfig.get().runtime.output_dir), arguments).absolute())

    with _command_line(arguments := literal_paths(arguments)), _hydra() as hydra, stoppable("go on with resume=True"):
        hydra.run("train", run, arguments, with_log_configuration=False).return_value  # noqa: B018, raises an error
    return Run(folders[0], read_result(folders[0]))


def callbacks(
    recipe: str, *overrides: str, num_epochs: int | None = None, teacher: nn.Module | None = None
) -> list[Modifier]:
    """The modifiers of a recipe, as callbacks of a Lightning Trainer, or for a `ModifierCallback`.

    They set the learning rate too, with the rate of the recipe as its peak, so the LightningModule has no scheduler;
    ``"~recipe.learning_rate"`` leaves it to the optimizer.

    Args:
        recipe: a name as on the command line, or a file of SparseML.
        overrides: of the recipe's settings, such as ``"recipe.pruning.final_sparsity=0.9"``.
        num_epochs: of the training, over which the recipe is spread; by default those of the recipe.
        teacher: a fine-tuned model with the outputs of the student; without one nothing is distilled.

    Raises:
        UserError: for an unknown recipe or setting, and for a recipe that does not train.
    """
    is_file = recipe.endswith((".yaml", ".yml", ".md"))
    arguments = [
        *(["recipe=sparseml", f"recipe.path={recipe}"] if is_file else [f"recipe={recipe}"]),
        *([] if num_epochs is None else [f"recipe.num_epochs={num_epochs}"]),
        *overrides,
        f"teacher={'none' if teacher is None else 'self'}",
    ]
    arguments = literal_paths(arguments)
    with _hydra():
        found = run_config(compose("job", arguments), arguments).recipe
    if not found.num_epochs:
        raise UserError(f"recipe={recipe} changes a finished model without training it; use winnow.train.")
    return build_modifiers(found, teacher=as_teacher(teacher))


@contextmanager
def _hydra() -> Iterator[Any]:
    """Hydra with the folder conf/, also within a program that uses Hydra itself; its errors are UserErrors."""
    outer, config = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    GlobalHydra.instance().clear()
    try:
        with described_errors(), initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
            yield GlobalHydra.instance().hydra
    finally:
        GlobalHydra.instance().hydra, HydraConfig.instance().cfg = outer, config


@contextmanager
def _command_line(arguments: list[str]) -> Iterator[None]:
    """The command that records and messages name."""
    before = sys.argv
    sys.argv = [before[0], *arguments]
    try:
        yield
    finally:
        sys.argv = before


def _written(value: Any, name: str = "") -> str:
    """A value as the command line has it."""
    match value:
        case None:
            return "none" if (CONF / name / "none.yaml").is_file() else "null"
        case bool():
            return str(value).lower()
        case Mapping():
            return "{" + ",".join(f"{name}:{_written(each)}" for name, each in value.items()) + "}"
        case list() | tuple():
            return "[" + ",".join(map(_written, value)) + "]"
    return str(value)
