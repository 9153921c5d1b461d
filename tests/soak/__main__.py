"""Kill, stop and damage random trainings and sweeps for some time: ``python -m tests.soak --minutes 60 --seed 1``.

Each round trains one configuration undisturbed, then again with ``kill -9`` and signals at random moments, resumed by
the same command, and compares weights, masks, optimizer states, results and deployment to the bit. Then files are
damaged: a command must refuse them by name, or do what it did before. Prints a line for each round and at the end what
was tried; the exit status is 1 if anything was lost or passed over in silence. ``--round 7`` repeats a round, all but
its moments.
"""

import argparse
import itertools
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

from tests.soak.rounds import Round
from tests.toys import review_tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="after which no round begins; default: 5")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--round", type=int, help="play only this one")
    parser.add_argument("--jobs", type=int, default=2, help="rounds at a time, one thread each; default: 2")
    parser.add_argument(
        "--disturbances", type=int, default=12, help="kills and signals of a round, at most; default 12"
    )
    parser.add_argument("--damages", type=int, default=12, help="times that a round damages files; default: 12")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(0 if soak(Path(folder), options) else 1)


def soak(folder: Path, options: argparse.Namespace) -> bool:
    """True if nothing was lost or passed over in silence."""
    data = review_tables(folder / "data", train=160, held_out=32)
    end = time.monotonic() + 60 * options.minutes
    numbers = itertools.count(1) if options.round is None else iter([options.round])
    rounds: list[Round] = []

    def play_rounds(_: int) -> None:
        for number in numbers:
            played = Round(folder / str(number), data, Random(f"{options.seed} {number}"))
            rounds.append(played)
            played.play(options.disturbances, options.damages)
            print(f"round {number}: {played.title}: {dict(played.counts)}", flush=True)
            if played.faults:
                print(*played.faults, f"python -m src.{' '.join(played.command)}", sep="\n", flush=True)
            if time.monotonic() > end:
                return

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(play_rounds, range(options.jobs)))
    counts = sum((played.counts for played in rounds), Counter())
    faults = sum(len(played.faults) for played in rounds)
    print("", *(f"{count:6,} {what}" for what, count in sorted(counts.items())), sep="\n")
    print(f"{faults:6,} lost or passed over in silence")
    return not faults


if __name__ == "__main__":
    main()
