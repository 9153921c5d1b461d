"""How much of the dense score recipes keep at equal budgets: ``python -m benchmarks.recovery DATA MODEL OUT``.

Fixed parts of real data, small enough for a processor. For each part a dense teacher is trained once; then each recipe
trains with each seed, for a budget in trainings of that teacher. All runs are those of ``src.train``; a second call
with the same OUT goes on where the first one stopped, and trains only what is missing.

A recipe may have settings after its name, which also name its line: ``--recipes prune80 "prune80
recipe.pruning.update_frequency=1"``.
"""

import argparse
import json
import math
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import Table

from winnow.machine import describe_machine, machine_lines

PRUNED = ("prune80", "prune90")


@dataclass(frozen=True)
class Part:
    """A part of a data set.

    Args:
        folder: of its files below DATA, whose names begin with those of the splits.
        settings: of the task.
        epochs: of the dense teacher.
        metric: that is compared.
        rows: to train on; None: all.
        held_out: further rows of the training file to measure on; 0: none.
        text: column by which held-out rows that are among the training rows too are left out.
    """

    folder: str
    settings: tuple[str, ...]
    epochs: int
    metric: str
    rows: int | None = None
    held_out: int = 0
    text: str = ""


PARTS = {
    "sst2": Part("glue/sst2", ("task=sst2",), 3, "accuracy", 8000, 4000, "sentence"),
    "mrpc": Part("glue/mrpc", ("task=mrpc",), 5, "f1"),
    "squad": Part("squad", ("task=squad",), 3, "f1", 4000),
    "wnut17": Part("wnut_17", ("task=wnut17", "dense.optimizer.learning_rate=1e-4"), 8, "f1"),
    "banking77": Part("banking77", ("task=text_classification", "task.metrics=[accuracy]"), 10, "accuracy"),
}


@dataclass(frozen=True)
class Bench:
    """Where a bench reads and writes.

    Args:
        data: folder with the data sets.
        model: to start from.
        out: folder of the runs.
    """

    data: Path
    model: str
    out: Path

    def teacher(self, name: str) -> Path:
        """The run of the dense teacher of a part, trained if there is none."""
        part = PARTS[name]
        self._train(name, ["recipe=dense", "teacher=none", f"recipe.num_epochs={part.epochs}", "seed=1"], "dense")
        return self.out / name / "dense"

    def run(self, name: str, recipe: str, budget: float, seed: int) -> Path:
        """A run of a recipe, trained if there is none."""
        recipe_name, *settings = shlex.split(recipe)
        epochs = budget * PARTS[name].epochs
        taught = ["teacher=checkpoint", f"teacher.name={self.teacher(name)}"]
        words = [f"recipe={recipe_name}", f"recipe.num_epochs={epochs:g}", f"seed={seed}", *taught, *settings]
        return self._train(name, words, f"{recipe.replace(' ', ',')}-{budget:g}-seed{seed}".replace("/", "_"))

    def _train(self, name: str, words: Sequence[str], folder: str) -> Path:
        run = self.out / name / folder
        if not _scores(run):
            settings = [*PARTS[name].settings, *self._files(name), f"model.name={self.model}", "model=minilm", *words]
            options = ["resume=true", "trainer.progress_bar=false", f"output_dir={self.out}", f"hydra.run.dir={run}"]
            print(f"{name}: {folder}", flush=True)
            with (self.out / f"{name}-{folder}.log").open("w") as log:
                subprocess.run(
                    [sys.executable, "-m", "src.train", *settings, *options], check=True, stdout=log, stderr=log
                )
        return run

    def _files(self, name: str) -> list[str]:
        """The settings that name the files of a part, which are written if there are none."""
        part, folder = PARTS[name], self.out / name / "data"
        if not folder.is_dir():
            folder.mkdir(parents=True)
            for split, rows in _splits(part, self.data / part.folder).items():
                pq.write_table(rows, folder / f"{split}.parquet")
        return [f"task.data.files.{file.stem}={file}" for file in sorted(folder.iterdir())]


def _splits(part: Part, folder: Path) -> dict[str, Table]:
    """The rows of each split: those of its file, of the training file a fixed random part."""
    found = {}
    for split in ("train", "validation", "test"):
        if files := sorted(folder.glob(f"{split}*.parquet")):
            found[split] = pq.read_table(files)
    order = np.random.default_rng(0).permutation(len(found["train"]))
    whole = found["train"]
    if part.rows:
        found["train"] = whole.take(order[: part.rows])
    if part.held_out:
        rest = whole.take(order[part.rows :])
        known = pc.is_in(rest[part.text], found["train"][part.text].combine_chunks())
        found["test"] = rest.filter(pc.invert(known)).slice(0, part.held_out)
    return found


def _scores(run: Path) -> dict[str, dict[str, float]]:
    """The scores of a finished run on validation and test data; empty for any other."""
    try:
        row = json.loads((run / "result.json").read_text())
    except FileNotFoundError:
        return {}
    return {"validation": row["metrics"], "test": row["test_metrics"]} if row["status"] == "ok" else {}


def lines(bench: Bench, parts: Iterable[str], recipes: Sequence[str], budget: float, seeds: Sequence[int]) -> None:
    """Train what is missing, and print a line for each part and recipe as soon as it is known."""
    for name in parts:
        metric = PARTS[name].metric
        dense = _scores(bench.teacher(name))
        for split, scores in dense.items():
            if scores:
                print(f"{name:10} {split:10} {'dense':40} {100 * scores[metric]:6.2f}", flush=True)
        for recipe in recipes:
            found = [_scores(bench.run(name, recipe, budget, seed)) for seed in seeds]
            for split, scores in dense.items():
                if scores:
                    values = [100 * each[split][metric] for each in found]
                    lost = 100 * scores[metric] - statistics.fmean(values)
                    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
                    print(
                        f"{name:10} {split:10} {recipe:40} {statistics.fmean(values):6.2f} +- {error:.2f}  "
                        f"lost {lost:+.2f}  recovery {100 - 100 * lost / (100 * scores[metric]):.2f} %",
                        flush=True,
                    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--recipes", nargs="+", default=list(PRUNED))
    parser.add_argument("--budget", type=float, default=2.0, help="in trainings of the teacher")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    options = parser.parse_args()
    print(machine_lines(describe_machine(("torch", "winnow-transformers"), 1)))
    options.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(options.data, options.model, options.out.resolve())
    lines(bench, options.parts, options.recipes, options.budget, options.seeds)


if __name__ == "__main__":
    main()
