"""What a smaller model loses: ``python -m benchmarks.recovery --data FOLDER --recipes prune80 "prune90 seed=4" ...``.

Every recipe is trained on fixed parts of real data sets, with several seeds, from one dense teacher for each part. The
budget counts the epochs of the teacher: with 2 a recipe trains twice as long as its teacher. Runs that have ended are
not repeated, and one that was stopped is resumed, so the command can be given again with more recipes and seeds, and
several can work in one folder as long as their recipes or seeds differ.
"""

import argparse
import re
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from winnow.errors import UserError, short_errors
from winnow.files.run_files import ended_well, read_result


@dataclass(frozen=True)
class Part:
    """A part of a data set, small enough for a CPU.

    Args:
        folder: below the data folder, with Parquet files.
        task: its option of the config group, with settings.
        epochs: of the dense teacher.
        metric: that is compared.
        train: examples, the first after shuffling; None: all of them that are not held out.
        validation, test: training examples that are held out, where the data set has no split of this name.
        points: in a metric of 1.
    """

    folder: str
    task: str
    epochs: int
    metric: str
    train: int | None = None
    validation: int = 0
    test: int = 0
    points: float = 100.0


PARTS = {
    "sst2": Part("glue/sst2", "sst2", 3, "accuracy", train=8000, test=4000),
    "mrpc": Part("glue/mrpc", "mrpc task.metrics=[accuracy,f1]", 6, "accuracy", test=400),
    "squad": Part("squad", "squad task.max_seq_length=256 task.doc_stride=64", 2, "f1", train=4000, points=1.0),
    "wnut17": Part("wnut_17", "wnut17", 6, "f1"),
    "banking77": Part(
        "banking77", "text_classification task.metrics=[accuracy]", 10, "accuracy", train=9000, validation=1000
    ),
}


class Bench:
    """The runs of one part of the data, below ``out``."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.part = PARTS[name]
        self.options = options
        self.folder: Path = options.out / name
        self.dense = self.folder / "dense"
        self.files = self.folder / "data"

    def write_files(self) -> None:
        """Write the splits of the part, unless they are there."""
        if (self.files / "train.parquet").is_file():
            return
        folder = self.options.data / self.part.folder
        if not folder.is_dir():
            raise UserError(f"--data {self.options.data}: there is no folder {self.part.folder}.")
        found = datasets.load_dataset("parquet", data_files=_files(folder))
        rows = found["train"].shuffle(seed=0)
        splits = {name: found[name] for name in ("validation", "test") if name in found}
        for name, count in {"validation": self.part.validation, "test": self.part.test}.items():
            if count:
                splits[name], rows = rows.select(range(count)), rows.select(range(count, len(rows)))
        splits["train"] = rows.select(range(self.part.train or len(rows)))
        for name, split in splits.items():  # train last: it says that all are there
            split.to_parquet(self.files / f"{name}.parquet")

    def run(self, folder: Path, settings: Iterable[str]) -> None:
        """Train in a folder, or resume, unless the run has ended."""
        if ended_well(folder):
            return
        model = [f"model.name={self.options.model}"] if self.options.model else []
        command = [
            *[sys.executable, "-m", "src.train", *_task(self.part), f"task.data.path={self.files}", "model=minilm"],
            *[*model, f"hydra.run.dir={folder}", "resume=true", "trainer.keep_checkpoints=false", *settings],
        ]
        print(shlex.join(command), flush=True)
        subprocess.run(command, check=False)

    def train_dense(self) -> None:
        self.run(self.dense, ["recipe=dense", f"dense.num_epochs={self.part.epochs}"])
        if not ended_well(self.dense):
            raise UserError(f"the dense teacher has failed, see {self.dense}.")

    def train(self, recipe: str, seed: int) -> None:
        """Train a recipe, given with its settings as on a command line."""
        first, *settings = shlex.split(recipe)
        teacher = ["teacher=checkpoint", f"teacher.name={self.dense / 'model'}"]
        epochs = f"recipe.num_epochs={self.options.budget * self.part.epochs:g}"
        self.run(self.cell(recipe) / f"seed{seed}", [f"recipe={first}", *teacher, epochs, f"seed={seed}", *settings])

    def cell(self, recipe: str) -> Path:
        """The folder of the runs of a recipe that differ only in the seed."""
        name = re.sub(r"[^\w.=@+~-]+", "_", recipe.replace("recipe.", "")).strip("_")
        return self.folder / f"budget{self.options.budget:g}" / name

    def rows(self, recipes: Sequence[str]) -> list[list[str]]:
        """A row of the table for the dense teacher and for each recipe that has ended runs."""
        dense = read_result(self.dense)
        rows = [["dense", "1", *self._cells([dense], dense)]]
        for recipe in recipes:
            runs = [read_result(path) for path in sorted(self.cell(recipe).glob("seed*")) if ended_well(path)]
            if runs:
                rows.append([f"`{recipe}`", str(len(runs)), *self._cells(runs, dense)])
        return rows

    def _cells(self, runs: Sequence[dict[str, Any]], dense: dict[str, Any]) -> list[str]:
        cells = []
        for kind in ("metrics", "test_metrics"):
            scores = [self._score(run[kind]) for run in runs if run[kind]]
            lost = [self._score(dense[kind]) - score for score in scores]
            cells += [mean_and_error(scores), mean_and_error(lost)]
        return [*cells, f"{statistics.mean(run['train_seconds'] for run in runs) / 60:.1f}"]

    def _score(self, metrics: dict[str, float]) -> float:
        return self.part.points * metrics[self.part.metric]


def mean_and_error(values: Sequence[float]) -> str:
    """The mean, and from two values on its standard error, s / sqrt(n)."""
    if not values:
        return ""
    mean = f"{statistics.mean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values) / len(values) ** 0.5:.2f}"


def _files(folder: Path) -> dict[str, str]:
    return {path.name.split("-")[0]: str(path) for path in sorted(folder.glob("*.parquet"))}


def _task(part: Part) -> list[str]:
    option, *settings = part.task.split()
    return [f"task={option}", *settings]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with glue/sst2, squad, ... in Parquet files")
    parser.add_argument("--model", help="local copy of MiniLM; default: from the hub")
    parser.add_argument("--out", type=Path, default=Path("outputs/recovery"), help="default: outputs/recovery")
    parser.add_argument("--parts", nargs="+", default=["sst2"], choices=PARTS, help="default: sst2")
    parser.add_argument("--recipes", nargs="*", default=[], help="each with its settings, in quotes")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="default: 1 2 3")
    parser.add_argument(
        "--budget", type=float, default=2.0, help="epochs of a recipe by those of the teacher; default: 2"
    )
    options = parser.parse_args()
    options.out = options.out.absolute()
    with short_errors():
        for name in options.parts:
            bench = Bench(name, options)
            bench.write_files()
            bench.train_dense()
            for seed in options.seeds:
                for recipe in options.recipes:
                    bench.train(recipe, seed)
            titles = ["recipe", "seeds", bench.part.metric, "lost", f"test {bench.part.metric}", "lost", "minutes"]
            print(f"\n{name}, {options.budget * bench.part.epochs:g} epochs\n\n| {' | '.join(titles)} |")
            print("|---" * len(titles) + "|")
            for row in bench.rows(options.recipes):
                print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
