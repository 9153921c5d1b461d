"""The commands of the documentation exist, and those of the tutorials run on small data with a tiny model."""

import re
import shlex

import pytest
from hydra import compose, initialize_config_dir

from tests.toys import TINY, changed, review_tables, run
from winnow.config.resolve import run_config
from winnow.files.conf_folder import CONF

ROOT = CONF.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TUTORIALS = [page for page in PAGES if page.parent.name == "tutorials" or page.stem == "index"]
_BLOCK = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^(?:python -m src\.|winnow )(\w+) (.*?)(?:\s+#\s*(.*))?$", re.MULTILINE)
_FILE = re.compile(r"^`([\w/]+\.yaml)`:\n```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
OLD_RECIPE = """
modifiers:
  - !EpochRangeModifier {start_epoch: 0.0, end_epoch: 2.0}
  - !GMPruningModifier {start_epoch: 0.0, end_epoch: 1.0, update_frequency: 0.5, init_sparsity: 0.05,
      final_sparsity: 0.8, params: __ALL_PRUNABLE__}
"""


def commands(page):
    """Each command in the code blocks of a page: word, arguments, and whether it is marked as not run."""
    text = re.sub(r"<[\w ]+>", "FOLDER", page.read_text()).replace("\\\n", " ")
    for block in _BLOCK.findall(text):
        for word, arguments, comment in _COMMAND.findall(block):
            yield word, shlex.split(arguments), comment.startswith("not run")


def first_job(arguments):
    """The overrides of one job of a sweep."""
    first = (re.sub(r"^(task|recipe|teacher|seed)=([^,]*),.*", r"\1=\2", each) for each in arguments)
    return [each for each in first if not each.startswith(("-m", "hydra", "plan.")) and "interval(" not in each]


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.stem)
def test_every_setting_of_a_training_exists(page):
    for word, arguments, _ in commands(page):
        if word in ("train", "plan") and not {"recipe=sparseml", "--config-dir"} & {*arguments}:
            overrides = first_job(arguments)
            with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
                run_config(compose("train", overrides), overrides)


DEMOS = {"squad": "demo_questions", "sst2": "demo", "mrpc": "demo_entities"}
SMALL = [
    *("task.data.max_train_samples=48", "task.data.max_eval_samples=16", "task.data.batch_size=8"),
    *("recipe.num_epochs=2", "dense.num_epochs=1"),
]


def small(arguments):
    """The command on generated data, with a tiny model and few epochs."""
    kept = []
    for name, _, value in (argument.partition("=") for argument in arguments):
        if name == "task":
            kept.append(f"task={','.join(DEMOS.get(task, task) for task in value.split(','))}")
        elif name != "model":
            kept.append(f"{name}={value}" if value else name)
    pretrained = any(each.startswith("model.name=") for each in kept)
    settings = [*(["model=bert_base"] if pretrained else [*TINY, "model.config.num_hidden_layers=7"]), *SMALL]
    if "recipe=ptq" in kept:
        settings = changed(settings, "recipe.num_epochs=0")
    if "recipe=sparseml" in kept:
        settings = [each for each in settings if not each.startswith("recipe.")]
    return changed(kept, *settings)


@pytest.fixture
def folder(tmp_path):
    """The files that the tutorials speak of."""
    data = review_tables(tmp_path / "my_data")
    for name, split in {"train": "train", "dev": "validation", "test": "test", "texts": "test"}.items():
        rows = [line.rpartition(",") for line in (data / f"{split}.csv").read_text().splitlines()[1:]]
        lines = [f"{text},{label},{text},{text},{label}" for text, _, label in rows]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label,question,answer,verdict", *lines]) + "\n")
    (tmp_path / "corpus.txt").write_text("a good film with a bad end\n" * 200)
    (tmp_path / "old_recipe.yaml").write_text(OLD_RECIPE)
    return tmp_path


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_the_commands_of_a_tutorial_run_one_after_the_other(page, folder):
    for name, content in _FILE.findall(page.read_text()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    for word, arguments, is_marked in commands(page):
        if is_marked:
            continue
        if word in ("train", "plan"):
            arguments = small(arguments)
        elif word == "report":  # the folder is named after the tasks and settings of the small sweep
            arguments = [f"path={next((folder / 'outputs/sweeps').iterdir())}"]
        run(word, *arguments, folder=folder)
