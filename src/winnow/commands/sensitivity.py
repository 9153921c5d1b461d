"""Show which matrices of a finished model bear pruning: ``sensitivity task=sst2 model.name=<run folder>``."""

import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from winnow.command_line import command_line
from winnow.commands.hydra_errors import hydra_errors
from winnow.config.checks import check
from winnow.config.composed import plain_values
from winnow.config.labels import model_label
from winnow.config.modifiers import LayerDroppingSettings, PruningSettings, StructureSettings
from winnow.config.recipe import Recipe
from winnow.config.resolve import run_config
from winnow.config.run import RunConfig
from winnow.config.section import Section
from winnow.errors import UserError, short_errors
from winnow.files.conf_folder import CONF
from winnow.files.hub import work_offline_without_a_connection
from winnow.functional.structure import Structure
from winnow.path_arguments import literal_paths
from winnow.quiet import quiet_libraries
from winnow.values import Count, Sparsities, Text


class Settings(Section):
    """``conf/sensitivity.yaml`` explains each setting."""

    sparsities: Sparsities
    samples: Count
    folder: Text


def main() -> None:
    sys.argv[1:] = literal_paths(sys.argv[1:])
    with hydra_errors():
        _main()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="sensitivity")
def _main(composed: DictConfig) -> None:
    with short_errors():
        overrides = list(HydraConfig.get().overrides.task)
        config = run_config(composed, overrides)
        check(config, overrides)
        settings = Settings.read(plain_values(composed).get("sensitivity"), "sensitivity")
        _check_recipe(config.recipe, settings.sparsities[-1])
        work_offline_without_a_connection(config.hub_names)
        from winnow.reports.sensitivity_report import save_report, sensitivity_text  # heavy: only once all is checked
        from winnow.training.sensitivity import measure

        quiet_libraries()
        folder = Path(settings.folder)
        folder.mkdir(parents=True, exist_ok=True)
        result = measure(config, settings.sparsities, settings.samples, folder)
        title = f"{config.recipe.name} of {model_label(config.model.name)} on {config.task.name}"
        picture, mapping = save_report(result, title, folder)
        print(sensitivity_text(result, title))
        print(f"picture  {picture}")
        print(f"use      {_training(config, overrides, mapping)}")


def _training(config: RunConfig, overrides: Sequence[str], mapping: Path) -> str:
    """The command that prunes by the mapping; without another teacher, the model itself is the teacher."""
    kept = [each for each in overrides if not each.startswith(("sensitivity.", "recipe.pruning.final_sparsity="))]
    if not any(each.startswith("teacher=") for each in kept):
        kept += ["teacher=checkpoint", f"teacher.name={config.model.name}"]
    return command_line("train", *kept, f"recipe.pruning.final_sparsity={mapping}")


def _check_recipe(recipe: Recipe, last: float) -> None:
    """Refuse a recipe that cannot have a sparsity for each matrix of the model, or one above the last that is tried."""
    for name, settings in recipe.modifiers.items():
        if isinstance(settings, LayerDroppingSettings | StructureSettings):
            raise UserError(
                f"recipe={recipe.name} removes parts of the model by recipe.{name}, so its matrices are not yet known; "
                "name a run that has removed them with model.name=FOLDER, and a recipe such as prune80."
            )
    pruning = {name: each for name, each in recipe.modifiers.items() if isinstance(each, PruningSettings)}
    if [*pruning] != ["pruning"]:
        found = " and ".join(f"recipe.{name}" for name in pruning) or "none"
        raise UserError(
            f"recipe={recipe.name} must have one pruning modifier, recipe.pruning, such as prune80; it has {found}."
        )
    if pruning["pruning"].scope == "global":
        raise UserError(
            "recipe.pruning.scope=global has one threshold over all matrices, not a sparsity for each; add "
            "recipe.pruning.scope=matrix."
        )
    highest = max(target for _, target in pruning["pruning"].targets())
    if highest > last and not Structure.parse(pruning["pruning"].structure).group:
        raise UserError(f"sensitivity.sparsities end at {last:g}, below the recipe's {highest:g}; add a higher one.")
