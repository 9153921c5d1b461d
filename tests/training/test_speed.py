import json

import pytest
import torch

from tests.toys import toy_data, toy_model
from winnow.deployment import block_latency
from winnow.deployment.block_latency import MeasuredTable
from winnow.errors import UserError
from winnow.functional.latency_table import LatencyTable
from winnow.models.block_macs import macs_table
from winnow.models.shapes import stock_shape
from winnow.modifiers.clock import Clock
from winnow.modifiers.structured_pruning import StructuredPruning
from winnow.tasks.task import build_task
from winnow.training.speed import TABLE, give_tables, planned_speed

# Of a model of two layers with four heads and 256 neurons each, as model=tiny; all of it costs 1 + 2 * 3 = 7.
MEASURED = LatencyTable(heads={0: 0.0, 4: 1.0}, neurons={0: 0.0, 256: 2.0}, rest=1.0, dense=14.0)


@pytest.fixture
def measured(monkeypatch):
    """Each table that is measured, in place of the measurement."""
    tables = []

    def measure(model, task, settings):
        torch.rand(3)  # as a real measurement draws random weights
        tables.append(settings)
        return MeasuredTable(MEASURED, {"engine": settings.engine})

    monkeypatch.setattr(block_latency, "_measure", measure)
    return tables


@pytest.fixture(scope="module")
def student():
    return toy_model(toy_data().task)


def structure(**settings):
    return StructuredPruning(name="structure", **{"target_speedup": 4.0, "sequence_length": 16, **settings})


def given(folder, student, configured, **settings):
    modifier = structure(**settings)
    folder.mkdir(exist_ok=True)
    config = configured("recipe=fast4", f"cache.folder={folder.parent}/cache")
    give_tables([modifier], student, toy_data().task, config, folder)
    return modifier.table


def test_a_table_is_written_into_the_folder_of_the_run_and_a_resumed_run_takes_it(
    tmp_path, student, configured, measured
):
    assert given(tmp_path / "run", student, configured) == MEASURED
    written = json.loads((tmp_path / "run" / TABLE).read_text())
    assert (written["table"]["dense"], written["facts"]) == (14.0, {"engine": "onnxruntime"})
    written["table"]["dense"] = 30.0
    (tmp_path / "run" / TABLE).write_text(json.dumps(written))
    assert given(tmp_path / "run", student, configured).dense == 30.0
    assert len(measured) == 1


def test_another_run_takes_the_table_from_the_cache_unless_its_conditions_differ(
    tmp_path, student, configured, measured
):
    for folder in ("a", "b"):
        given(tmp_path / folder, student, configured)
    assert len(measured) == 1
    given(tmp_path / "c", student, configured, threads=2)
    assert [settings.threads for settings in measured] == [1, 2]


def test_a_table_of_multiply_accumulates_is_that_of_the_stock_shape_and_measures_nothing(
    tmp_path, student, configured, measured
):
    modifier = structure(latency="macs")
    assert given(tmp_path / "run", student, configured, latency="macs") == macs_table(student, modifier.settings)
    assert not measured


def test_a_table_leaves_the_random_state_as_it_was(tmp_path, student, configured, measured):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    given(tmp_path / "run", student, configured)
    assert torch.equal(torch.rand(2), expected)


def test_other_modifiers_need_no_table(tmp_path, student, configured):
    give_tables([], student, toy_data().task, configured("recipe=prune80"), tmp_path)
    assert not (tmp_path / TABLE).exists()


def shape(config):
    """The task, and the stock model of a configuration."""
    task = build_task(config.task)
    task.labels = ["no", "yes"]
    return task, stock_shape(config.model, task)


def planned(config, **settings):
    task, model = shape(config)
    modifier, clock = structure(**settings), Clock(steps_per_epoch=5.0, total_steps=10)
    modifier.match(model)
    modifier.begin(clock)
    return planned_speed([modifier], task, config, clock)


@pytest.fixture
def tiny(configured, tmp_path):
    return configured("model=tiny", "recipe=fast4", f"cache.folder={tmp_path}/cache")


def test_a_plan_measures_nothing_and_writes_nothing(tiny, tmp_path, measured):
    assert planned(tiny) == {
        "modifier": "structure",
        "target_speedup": 4.0,
        "latency": "measured",
        "engine": "onnxruntime",
        "precision": "float32",
        "batch_size": 1,
        "sequence_length": 16,
        "threads": 1,
        "known": None,
    }
    assert not measured
    assert not list(tmp_path.iterdir())


def test_a_plan_knows_the_table_that_a_run_has_measured(tiny, tmp_path, measured):
    task, student = shape(tiny)
    give_tables([structure()], student, task, tiny, tmp_path)
    known = planned(tiny, stages=2, end_epoch=1.0)["known"]
    assert (known["before"], known["highest"]) == (2.0, 14.0)
    assert known["targets"] == pytest.approx([8**0.5, 4.0])
    assert known["table"]["neurons"] == {0: 0.0, 256: 2.0}
    assert planned(tiny, threads=2)["known"] is None


def test_a_plan_refuses_a_speedup_that_is_out_of_reach_as_the_run_does(tiny, tmp_path, measured):
    task, student = shape(tiny)
    give_tables([structure()], student, task, tiny, tmp_path)
    with pytest.raises(UserError, match=r"target_speedup=14 is out of reach: .* would be 14 times as fast"):
        planned(tiny, target_speedup=14.0)


def test_a_plan_of_multiply_accumulates_knows_its_table(tiny):
    known = planned(tiny, latency="macs", target_speedup=2.0)["known"]
    assert (known["before"], known["targets"]) == (1.0, [2.0])
    assert planned_speed([], None, tiny, None) is None
