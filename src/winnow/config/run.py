"""The configuration of a run: one typed section for each option of the command line."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from winnow.config.model import Model
from winnow.config.outputs import Cache, Export, Logger
from winnow.config.present_names import with_present_names
from winnow.config.recipe import Recipe
from winnow.config.section import Section
from winnow.config.task import UNLABELED, AnyTask
from winnow.config.teacher import Teacher
from winnow.config.trainer import Trainer
from winnow.errors import UserError
from winnow.files.run_files import RESOLVED, read_config
from winnow.values import Expected, Number, Seed, Text, TextOrNull, YesNo

Metrics = Annotated[dict[str, Number], Field(min_length=1), Expected("names with numbers, such as {f1: 88.5}")]


ADDED = ("settings", "title", "translation")  # fields of a RunConfig that no command line sets


class PublishedRow(Section):
    """A row of a published table, shown beside the runs of the same task, model, recipe and teacher."""

    source: Text
    task: Text
    model: Text
    recipe: Text
    teacher: Text
    metrics: Metrics
    note: TextOrNull = None


class Translation(Section):
    """What the translation of a SparseML recipe reports, and the modifiers that come from its file."""

    report: str
    modifiers: list[str]


class RunConfig(Section):
    """The whole configuration, checked; ``conf/job.yaml`` and ``conf/train.yaml`` explain the plain settings.

    Args:
        dense: the recipe of the dense run, which ``teacher=dense`` trains and results are compared with.
        settings: overrides beside the options, by full name; shown in result tables.
        title: of the job in a sweep whose jobs run side by side.
        translation: of a SparseML recipe.
    """

    task: AnyTask
    model: Model
    recipe: Recipe
    dense: Recipe
    teacher: Teacher
    trainer: Trainer
    logger: Logger
    export: Export
    cache: Cache
    seed: Seed
    output_dir: Text
    resume: YesNo = False
    published: list[PublishedRow] = Field(default=[])
    settings: dict[str, str] = Field(default={})
    title: str | None = None
    translation: Translation | None = None

    def changed(self, **sections: Any) -> "RunConfig":
        """A copy with other sections or settings, e.g. ``config.changed(resume=True)``."""
        return self.model_copy(update=sections)

    @property
    def hub_names(self) -> list[str | None]:
        """Names of data sets and models, on the hub or on this machine, that the run reads."""
        model = self.model.name if self.model.config is None else None
        return [self.task.data.path, self.teacher.name, model]

    @property
    def chosen_lengths(self) -> dict[str, int]:
        """The tokens of the longest input by the full name of the setting, where the command line sets them."""
        lengths = {f"task.{name}": length for name, length in self.task.lengths.items()}
        return {name: length for name, length in lengths.items() if name in self.settings}

    @property
    def learning_rate_setting(self) -> str:
        """Full name of the setting of the learning rate, for messages; a dense teacher has its own."""
        same = self.recipe.without_teacher() == self.dense.without_teacher()
        return f"{'dense' if same else 'recipe'}.optimizer.learning_rate"

    def plain(self) -> dict[str, Any]:
        """Plain values, as ``.hydra/resolved.yaml`` keeps them; `RunConfig.read` reads them back."""
        unset = {name for name in ("title", "translation") if getattr(self, name) is None}
        recipes = {"recipe": self.recipe.plain(), "dense": self.dense.plain()}
        return self.model_dump(by_alias=True, exclude={"recipe", "dense", *unset}) | recipes


def dense_run(config: RunConfig) -> RunConfig:
    """The dense run of the same task, model and seed: the dense teacher, and the reference of results."""
    settings = {name: value for name, value in config.settings.items() if not name.startswith("recipe.")}
    files = config.task.data.files.model_copy(update={UNLABELED: None})
    data = config.task.data.model_copy(update={"files": files})
    return config.changed(
        task=config.task.model_copy(update={"data": data}),
        recipe=config.dense.without_teacher(),
        teacher=Teacher(kind="none"),
        settings=settings,
        title=f"dense teacher of {config.title}" if config.title else None,
        translation=None,
    )


def saved_config(folder: Path) -> RunConfig:
    """The configuration of a run, from its folder.

    Raises:
        UserError: if it is missing or damaged.
    """
    plain = read_config(folder)
    try:
        return RunConfig.read(with_present_names(plain))
    except UserError as error:
        raise UserError(f"{folder / RESOLVED}: {error}") from error
