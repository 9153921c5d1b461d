"""Runs DeepSparse for `benchmarks.deep_sparse`, as a script in an environment of its own.

Each line of standard input is a request: a JSON object with the graph to load and its inputs, or null for one run of
that graph. Each line of standard output has the seconds of the run.
"""

import json
import os
import sys
import time

import numpy as np


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the engine may print to standard output
    from deepsparse import Engine  # type: ignore[import-not-found]  # it is in the other environment

    for line in sys.stdin:
        if request := json.loads(line):
            inputs = [np.array(values, np.int64) for values in request["inputs"]]
            engine = Engine(request["graph"], batch_size=len(inputs[0]), num_cores=request["threads"])
        started = time.perf_counter()
        engine.run(inputs)
        print(time.perf_counter() - started, file=answers, flush=True)


if __name__ == "__main__":
    main()
