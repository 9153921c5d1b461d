"""From the composed configuration of Hydra to plain values and the typed configuration; imports nothing heavy."""

from collections.abc import Callable, Iterable
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from winnow.config.composed import plain_values
from winnow.config.labels import folder_name, model_label, settings_label, settings_of, sweep_name
from winnow.config.model_names import NamedModels, check_is_read
from winnow.config.name_source import register
from winnow.config.numbered import check_not_hidden, check_number
from winnow.config.run import ADDED, RunConfig
from winnow.config.section import check_names
from winnow.config.sparsity_files import with_sparsities_of_files
from winnow.sparseml.config_translation import translate_config


def _register_resolvers() -> None:
    """Boundaries that scale with ``num_epochs``: ``${mul:a,b}``, ``${sum:a,b}``, ``${share:num_epochs,2,30}``
    for 2 of 30; ``${stages:speedup}``; names of folders: ``${folder_name:parts}``, ``${model_label:name}``,
    ``${settings_label:overrides}``, ``${sweep_name:overrides,task}``; and ``/open@section: mapping``, a section to
    which a command line may add settings without a ``+``.
    """
    resolvers: dict[str, Callable[..., Any]] = {
        "mul": _of_numbers(lambda a, b: a * b),
        "sum": _of_numbers(lambda a, b: a + b),
        "stages": _of_numbers(stages_of),
        "share": _of_numbers(lambda whole, part, parts: whole * part / parts),
        "folder_name": folder_name,
        "model_label": model_label,
        "settings_label": settings_label,
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)
    # cached, so all jobs of a sweep have its name
    OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True, use_cache=True)
    ConfigStore.instance().store(group="open", name="mapping", node=DictConfig({}, flags={"struct": False}))


def _of_numbers(compute: Callable[..., Any]) -> Callable[..., Any]:
    """The same with numbers; otherwise the first value that is none, which the check of the settings will name."""

    def resolver(*values: Any) -> Any:
        wrong = [value for value in values if not isinstance(value, int | float)]
        return wrong[0] if wrong else compute(*values)

    return resolver


def stages_of(speedup: float) -> int:
    """In how many stages heads and neurons are removed for a speedup: 1 up to 2, 2 up to 4, 3 up to 8, 4 beyond."""
    return next((stages for stages, most in enumerate((2, 4, 8), start=1) if speedup <= most), 4)


def run_config(composed: DictConfig, overrides: Iterable[str] = ()) -> RunConfig:
    """The typed configuration of a run; a recipe file is translated, and without a teacher no modifier needs one.

    Args:
        composed: by Hydra.
        overrides: of the command line.

    Raises:
        UserError: for the first setting that is unknown, missing or not what it must be, and for a recipe file that
            cannot be translated.
    """
    translation = {}
    if _names_a_file(composed):
        composed, translation["translation"] = translate_config(composed)
    check_number(composed)
    check_not_hidden()
    check_is_read()
    plain = plain_values(composed)
    for command in ("plan", "sensitivity"):
        plain.pop(command, None)  # the options of the command of this name
    check_names(plain, [name for name in RunConfig.model_fields if name not in ADDED])
    recipe = plain["recipe"] = with_sparsities_of_files(plain.get("recipe"))
    if isinstance(recipe, dict) and recipe.get("num_epochs") == 0:
        plain["teacher"] = {"kind": "none"}  # without training nothing is distilled, and no step has a learning rate
        plain["recipe"] = {name: node for name, node in recipe.items() if not _sets_learning_rate(node)}
    settings = settings_of(overrides)
    config = RunConfig.read({**plain, **translation, "settings": settings}, typed=settings)
    return config.changed(recipe=config.recipe.without_teacher()) if config.teacher.kind == "none" else config


def _sets_learning_rate(node: Any) -> bool:
    return isinstance(node, dict) and str(node.get("_target_")).endswith(".learning_rate.LearningRate")


def _names_a_file(composed: DictConfig) -> bool:
    """True for a recipe of SparseML; looked up without resolving, since other values may be wrong."""
    plain = OmegaConf.to_container(composed, resolve=False)
    recipe = plain.get("recipe") if isinstance(plain, dict) else None
    return isinstance(recipe, dict) and recipe.get("path") not in (None, "???")


register(NamedModels)
_register_resolvers()  # also in the processes of a launcher, which import this and no command
