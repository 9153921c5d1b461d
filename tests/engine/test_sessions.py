"""Several sessions and threads at once, and many sessions one after the other."""

import gc
import threading
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tests.engine.operators import grids, model_of, packed, random_weights, session
from winnow.engine.quantized_graph import Grid

CODES = Grid(0.02, 100)


def linear_model(seed, rows=200, columns=1540):
    weights = random_weights(np.random.default_rng(seed), rows, columns)
    x = np.ones((1, 1, columns), np.float32)
    return model_of("Linear", ["x", *weights.constants], grids(x=CODES) | weights.attributes, {"x": x})


def attention_model(seed, features=256, columns=64):
    rng = np.random.default_rng(seed)
    layers = [random_weights(rng, features, columns, scales=(0.003,)) for _ in range(3)]
    constants = [each for layer in layers for each in layer.constants]
    attributes = grids(x=CODES, query=CODES, key=CODES, value=CODES, probabilities=Grid(1 / 255, 0), y=CODES)
    attributes |= layers[0].attributes | {"scale": 0.5, "head_size": 32}
    x = {"x": np.ones((1, columns // 4, 64), np.uint8), "mask": np.zeros((1, 1, 1, 1), np.float32)}
    return model_of("SelfAttention", ["x", "mask", *constants], attributes, x)


def linear_inputs(seed):
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(0, 2, (rng.integers(1, 6), rng.integers(1, 70), 1540)).astype(np.float32)}


def attention_inputs(seed):
    rng = np.random.default_rng(seed)
    batch, tokens = rng.integers(1, 6), rng.integers(1, 150)
    codes = rng.integers(0, 256, (batch, tokens, 64))
    return {"x": packed(codes, ""), "mask": np.zeros((batch, 1, 1, tokens), np.float32)}


KINDS = {"linear": (linear_model, linear_inputs), "attention": (attention_model, attention_inputs)}


def results(found: onnxruntime.InferenceSession, inputs, into=None):
    """The results for several inputs, also in a list to which threads write."""
    made = [found.run(None, each)[0] for each in inputs]
    if into is not None:
        into.append(made)
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_more_threads_give_equal_results(compiled, instructions, kind):
    model, inputs = KINDS[kind][0](0), [KINDS[kind][1](seed) for seed in range(4)]
    one = results(session(model, compiled, 1), inputs)
    for threads in (2, 5):
        for expected, found in zip(one, results(session(model, compiled, threads), inputs), strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_that_share_a_session_and_sessions_side_by_side_have_the_results_of_one(compiled, threads):
    jobs, expected, found = [], [], []
    for kind, (model, inputs) in KINDS.items():
        for seed in range(2):
            opened = session(model(seed), compiled, threads)
            given = [inputs(seed * 100 + i) for i in range(5)]
            alone = results(opened, given)
            for _ in range(4 if kind == "linear" else 2):
                mine: list[list[np.ndarray]] = []
                jobs.append(threading.Thread(target=results, args=(opened, given, mine)))
                expected.append(alone)
                found.append(mine)
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    for mine, alone in zip(found, expected, strict=True):
        assert len(mine) == 1
        for one, other in zip(mine[0], alone, strict=True):
            np.testing.assert_array_equal(one, other)


def test_nodes_that_run_at_the_same_time_have_the_results_of_one_after_the_other(compiled):
    model = linear_model(0)
    for seed in range(1, 5):
        other = linear_model(seed).graph
        for part in (other.node[0].input, other.node[0].output):
            part[:] = [name if name == "x" else f"{name}.{seed}" for name in part]
        for entry in (*other.initializer, *other.output):
            entry.name = f"{entry.name}.{seed}"
        model.graph.node.extend(other.node)
        model.graph.initializer.extend(other.initializer)
        model.graph.output.extend(other.output)
    options = onnxruntime.SessionOptions()
    options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    options.intra_op_num_threads = options.inter_op_num_threads = 3
    options.register_custom_ops_library(str(compiled))
    opened = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    one_by_one = session(model, compiled)
    for seed in range(5):
        inputs = linear_inputs(seed)
        for found, expected in zip(opened.run(None, inputs), one_by_one.run(None, inputs), strict=True):
            np.testing.assert_array_equal(found, expected)


def resident() -> int:
    """Bytes of memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def test_closed_sessions_leave_no_memory(compiled):
    open_and_close(compiled, 40, most=4_000_000)


@pytest.mark.slow
def test_a_thousand_closed_sessions_leave_no_memory(compiled):
    open_and_close(compiled, 1000, most=12_000_000)


def open_and_close(compiled, count, most):
    models = [linear_model(0), attention_model(0)]
    inputs = [linear_inputs(0), attention_inputs(0)]

    def times(count):
        for i in range(count):
            session(models[i % 2], compiled, threads=1 + i // 2 % 2).run(None, inputs[i % 2])
        gc.collect()

    times(20)
    before = resident()
    times(count)
    assert resident() - before < most  # the weights of a session are a quarter of a megabyte
