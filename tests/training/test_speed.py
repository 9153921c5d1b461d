import json

import pytest
import torch

from tests.toys import toy_data, toy_model
from winnow.deployment import block_latency
from winnow.deployment.block_latency import MeasuredTable
from winnow.errors import UserError
from winnow.functional.latency_table import LatencyTable
from winnow.models.block_macs import macs_table
from winnow.modifiers.clock import Clock
from winnow.modifiers.structured_pruning import StructuredPruning
from winnow.tasks.task import build_task
from winnow.training.speed import TABLE, give_tables, planned_speed

# Of a model of three layers with three heads and 256 neurons each, as model=tiny; all of it costs 1 + 3 * 3 = 10.
MEASURED = LatencyTable(heads={0: 0.0, 3: 1.0}, neurons={0: 0.0, 256: 2.0}, rest=1.0, dense=20.0)


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
    assert (written["table"]["dense"], written["facts"]) == (20.0, {"engine": "onnxruntime"})
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


def rehearsed(config, **settings):
    """The modifier of a plan of a model that has the shape of the table, and what the plan shows of it."""
    task = build_task(config.task)
    task.labels = ["no", "yes"]
    modifier, clock = structure(stages=2, end_epoch=1.0, **settings), Clock(steps_per_epoch=5.0, total_steps=10)
    model = toy_model(toy_data().task, num_hidden_layers=3, num_attention_heads=4)
    modifier.match(model)
    modifier.begin(clock)
    return planned_speed([modifier], task, config, clock)


def test_a_plan_measures_nothing_and_knows_a_table_that_was_measured_before(tmp_path, configured, measured):
    config = configured("model=tiny", "recipe=fast4", f"cache.folder={tmp_path}")
    assert planned_speed([], build_task(config.task), config, Clock(steps_per_epoch=5.0, total_steps=10)) is None
    assert rehearsed(config)["known"] is None
    assert not measured
    assert not list(tmp_path.iterdir())
