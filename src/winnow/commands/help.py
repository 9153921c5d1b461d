"""``winnow COMMAND --help``: the settings of a command with their values and the comments of their files in conf/."""

import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

import winnow.config.resolve  # noqa: F401 -- registers the resolvers of the configuration
from winnow.command_line import command_line
from winnow.commands.hydra_errors import hydra_errors
from winnow.config.numbered import NUMBERS, families
from winnow.files.conf_folder import CONF
from winnow.path_arguments import literal_paths
from winnow.text import aligned, truncated

_TRAININGS = ("train", "plan", "sensitivity")  # their values depend on the overrides
_WORDS = ("task", "model", "recipe", "teacher", "trainer", "logger", "export")
_MORE = {"model": "; or a name of the hub, or a folder", "recipe": f"; {NUMBERS}"}
# Command -> prefix, file and names of the shown settings; no names: all of the file. Others show conf/COMMAND.yaml.
_SHOWN: dict[str, list[tuple[str, str, Sequence[str]]]] = {
    "train": [
        ("model.", "model/bert_base.yaml", ["name"]),
        ("task.data.", "data/splits.yaml", ["path", "files.train", "batch_size"]),
        ("task.", "task/{family}.yaml", ["max_length", "max_seq_length"]),
        ("recipe.", "training/finetune.yaml", ["num_epochs"]),
        ("recipe.optimizer.", "optimizer/adamw.yaml", ["learning_rate"]),
        ("recipe.pruning.", "modifier/gmp.yaml", ["final_sparsity"]),
        ("recipe.distillation.", "modifier/distillation.yaml", ["hardness"]),
        ("", "job.yaml", ["seed"]),
    ],
    "export": [("", "export.yaml", []), ("export.", "export/onnx.yaml", [])],
}
_NEXT: dict[str, dict[str, Sequence[str]]] = {
    "train": {
        "all settings": ("train", "--cfg", "job"),
        "preview": ("plan", "task=sst2", "recipe=prune80"),
        "sweep": ("train", "-m", "task=sst2", "recipe=prune80,prune90", "seed=1,2,3"),
        "next": ("export", "run=FOLDER"),
    },
    "plan": {"more settings": ("train", "--help"), "next": ("train", "task=sst2", "recipe=prune80")},
    "sensitivity": {"more settings": ("train", "--help")},
    "export": {"next": ("predict", "deployment=FOLDER", "text=TEXT")},
    "convert": {"next": ("train", "--config-dir", "MY_CONF", "recipe=NAME")},
}
_LONGEST = 40  # characters of NAME=VALUE
_WIDTHS = (60, 120)  # characters of a line, the fewest and the most


def main(word: str) -> None:
    with hydra_errors():
        print(help_page(word, sys.argv[1:]))


def help_page(word: str, arguments: Sequence[str]) -> str:
    """What a command does, its settings and the next step, as wide as the terminal or COLUMNS.

    Args:
        word: the command.
        arguments: of the command line; the overrides of a training change the values that are shown.
    """
    width = sorted((shutil.get_terminal_size().columns, *_WIDTHS))[1]
    overrides = _overrides(arguments) if word in _TRAININGS else []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose(word, overrides, return_hydra_config=True)
        words = [*_words(composed.hydra.runtime.choices, overrides)] if word == "train" else []
    values = dict(_leaves(OmegaConf.to_container(_without_hydra(composed), resolve=True)))
    *_, family, _ = str(values.get("task._target_", ".")).split(".")
    rows = []
    for prefix, file, names in _SHOWN.get(word, [("", f"{word}.yaml", [])]):
        comments = _comments(CONF / file.format(family=family))
        shown = {prefix + name: text for name, text in comments.items() if not names or name in names}
        rows += [_row(name, values[name], text) for name, text in shown.items() if text and name in values]
    lines = textwrap.wrap(_purpose(word), width)
    if words:
        lines += ["", "words, as chosen, and what there is:", *_table(words, width)]
    lines += ["", "settings that are changed most:" if words else "settings:", *_table(rows, width)]
    if word in _NEXT:
        lines += ["", *aligned([[name, command_line(*command)] for name, command in _NEXT[word].items()], left=(0, 1))]
    return "\n".join(lines)


def _overrides(arguments: Sequence[str]) -> list[str]:
    parsed = get_args(literal_paths(arguments))
    folder = [f"hydra.searchpath=['file://{Path(parsed.config_dir).absolute()}']"] if parsed.config_dir else []
    return [*parsed.overrides, *folder]


def _words(chosen: Mapping[str, str], overrides: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each config group with the chosen option, and all of its options."""
    loader = GlobalHydra.instance().config_loader()
    for group in _WORDS:
        options = loader.get_group_options(group, config_name="train", overrides=list(overrides))
        names = " ".join(families(options) if group == "recipe" else options)
        yield f"{group}={chosen[group]}", names + _MORE.get(group, "")


def _without_hydra(composed: Any) -> Any:
    return OmegaConf.masked_copy(composed, [str(name) for name in composed if name != "hydra"])


def _leaves(section: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """The full name and the value of each setting."""
    for name, value in section.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{before}{name}.")
        else:
            yield before + name, value


def _comments(file: Path) -> dict[str, str]:
    """The comment of each setting of a file: what follows it on its line, and the indented comments below."""
    found: dict[str, str] = {}
    sections: list[str] = []
    for line in file.read_text().splitlines() if file.is_file() else ():  # the family of a task may be the user's
        setting, _, comment = line.partition("#")
        if key := re.match(r"( *)(\w+):", setting):
            sections[len(key[1]) // 2 :] = [key[2]]
            found[".".join(sections)] = _with_commands(comment.strip())
        elif comment and setting.isspace():
            found[".".join(sections)] += f" {_with_commands(comment.strip())}"
    return found


def _purpose(word: str) -> str:
    """The comment at the top of the file of a command."""
    lines = takewhile(lambda line: line.startswith("#"), (CONF / f"{word}.yaml").read_text().splitlines())
    return _with_commands(" ".join(line.removeprefix("# ") for line in lines).partition(": ")[2])


def _with_commands(text: str) -> str:
    """The text with each command as the user starts it."""
    return re.sub(r"(?:python -m )?\bsrc\.(\w+)", lambda found: command_line(found[1]), text)


def _row(name: str, value: Any, comment: str) -> tuple[str, str]:
    if value == "???":
        return f"{name}=...", f"required: {comment}"
    return truncated(f"{name}={_as_typed(value)}", _LONGEST), comment


def _as_typed(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_as_typed, value))}]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(rows: Iterable[tuple[str, str]], width: int) -> Iterator[str]:
    """Two columns, the second one wrapped."""
    rows = list(rows)
    column = max(len(left) for left, _ in rows) + 4
    for left, text in rows:
        first = f"  {left}".ljust(column)
        wrapped = textwrap.wrap(
            text, width, initial_indent=first, subsequent_indent=" " * column, break_on_hyphens=False
        )
        yield from wrapped or [first.rstrip()]
