import numpy as np
import pytest

from winnow.deployment import latency
from winnow.deployment.latency import Timing, in_turns, measure, timings, token_inputs


@pytest.fixture
def clock(monkeypatch):
    """A clock that only work moves: a list with the time in seconds."""
    now = [0.0]
    monkeypatch.setattr(latency.time, "perf_counter", lambda: now[0])
    return now


def lasting(clock, *seconds):
    """Work that takes these seconds in its calls; further calls take the last of them."""
    left = list(seconds)

    def work():
        clock[0] += left.pop(0) if len(left) > 1 else left[0]

    return work


def test_ratios_are_computed_within_a_round_so_that_a_slow_round_affects_both():
    found = timings({"dense": [1.0, 10.0, 2.0], "int8": [0.5, 4.0, 1.2]}, batch_size=4)
    assert found["dense"] == Timing(
        latency={"median": 2.0, "min": 1.0, "max": 10.0},
        throughput=2.0,
        ratio={"median": 1.0, "min": 1.0, "max": 1.0},
    )
    assert found["int8"].latency == {"median": 1.2, "min": 0.5, "max": 4.0}
    assert found["int8"].throughput == pytest.approx(4 / 1.2)
    assert found["int8"].ratio == {"median": 0.5, "min": 0.4, "max": 0.6}


def test_the_time_of_a_round_is_the_median_of_its_calls_without_the_first(clock):
    # In each of two rounds one untimed call, then calls for ten seconds; the first round is not counted.
    work = lasting(clock, 9, 10, 100, 3, 5, 4)
    assert in_turns({"one": work}, rounds=1, seconds=10) == {"one": [4]}


def test_a_model_runs_for_its_seconds_and_at_least_once(clock):
    calls = {"slow": 0, "fast": 0}

    def work(name, seconds):
        calls[name] += 1
        clock[0] += seconds

    in_turns({"slow": lambda: work("slow", 80), "fast": lambda: work("fast", 1)}, rounds=1, seconds=10)
    assert calls == {"slow": 2 * (1 + 1), "fast": 2 * (1 + 10)}


def test_each_round_starts_with_another_model(clock):
    order = []

    def work(name):
        clock[0] += 1
        order.append(name)

    in_turns({name: lambda name=name: work(name) for name in "abc"}, rounds=2, seconds=0)
    assert "".join(order[::2]) == "abcbcacab"


def test_tokens_are_the_same_in_each_call_and_within_the_vocabulary():
    inputs = token_inputs(["token_type_ids", "input_ids", "attention_mask"], batch_size=2, length=5, vocabulary=100)
    assert list(inputs) == ["token_type_ids", "input_ids", "attention_mask"]
    assert all(values.shape == (2, 5) and values.dtype == np.int64 for values in inputs.values())
    assert inputs["input_ids"].min() >= 10
    assert inputs["input_ids"].max() < 100
    assert inputs["attention_mask"].all()
    assert not inputs["token_type_ids"].any()
    again = token_inputs(["input_ids"], batch_size=2, length=5, vocabulary=100)
    assert (again["input_ids"] == inputs["input_ids"]).all()


def test_engines_are_measured_on_the_inputs_that_each_of_them_has(clock):
    class Stub:
        def __init__(self, inputs, seconds):
            self.inputs, self.outputs, self.seconds = inputs, ["logits"], seconds

        def run(self, inputs):
            assert list(inputs) == self.inputs
            clock[0] += self.seconds

    engines = {"dense": Stub(["input_ids"], 0.3), "int8": Stub(["input_ids", "attention_mask"], 0.1)}
    found = measure(engines, batch_size=32, length=8, vocabulary=50, rounds=2, seconds=1)
    assert found == {"dense": pytest.approx([0.3, 0.3]), "int8": pytest.approx([0.1, 0.1])}
