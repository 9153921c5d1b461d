import json
from types import SimpleNamespace

import pytest

pytest.importorskip("tensorboard", reason="pip install 'winnow-transformers[tensorboard]'")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from winnow.loggers.tensorboard_log import TensorBoardLog

CONFIG = SimpleNamespace(plain=lambda: {"recipe": {"name": "prune80"}, "seed": 1})
ROW = {"status": "ok", "metrics": {"accuracy": 0.75}, "sparsity_by_layer": {"a.weight": 0.8}}


def read(folder):
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return events


def text(events, name):
    return events.Tensors(f"{name}/text_summary")[0].tensor_proto.string_val[0].decode()


def begun(folder, resumed=False):
    log = TensorBoardLog(folder)
    log.begin(CONFIG, resumed=resumed)
    return log


def test_metrics_the_configuration_and_the_results_can_be_read_back(tmp_path):
    log = begun(tmp_path)
    log.log_metrics({"train/loss": 0.5, "epoch": 0}, step=9)
    log.log_metrics({"pruning/sparsity": 0.25}, step=10)
    (tmp_path / "result.json").write_text(json.dumps(ROW | {"error": "the export\nwas|refused"}))
    log.end(0)
    events = read(tmp_path)
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(10, 0.5)]
    assert [(event.step, event.value) for event in events.Scalars("pruning/sparsity")] == [(10, 0.25)]
    assert "name: prune80" in text(events, "configuration")
    assert "| metrics/accuracy | 0.75 |" in text(events, "results")
    assert r"| error | the export was\|refused |" in text(events, "results")
    assert "| a.weight | 0.8 |" in text(events, "sparsity by layer")


def test_what_a_resumed_run_logs_again_is_shown_once(tmp_path):
    first = begun(tmp_path)
    for step in range(4):
        first.log_metrics({"train/loss": float(step), "epoch": 0}, step=step)
    first.experiment.close()
    second = begun(tmp_path, resumed=True)
    second.cut(2)
    for step in range(2, 6):
        second.log_metrics({"train/loss": float(step), "epoch": 0}, step=step)
    second.end(0)
    assert [event.step for event in read(tmp_path).Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]


def test_a_run_that_starts_again_replaces_its_earlier_log(tmp_path):
    for loss in (1.0, 2.0):
        log = begun(tmp_path)
        log.log_metrics({"train/loss": loss, "epoch": 0}, step=0)
        log.end(0)
    assert [event.value for event in read(tmp_path).Scalars("train/loss")] == [2.0]
