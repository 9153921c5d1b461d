import sys

import pytest

from src.checks import check
from src.errors import StoppedError, UserError
from src.reports import run_log as module
from src.reports.csv_log import CSVLog
from src.reports.run_log import build_loggers, run_log


class Log:
    def __init__(self):
        self.ended = []

    def end(self, status):
        self.ended.append(status)


@pytest.fixture
def log(monkeypatch):
    log = Log()
    monkeypatch.setattr(module, "build_loggers", lambda settings, folder: [log])
    return log


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("no"), 1), (KeyboardInterrupt(), 1), (StoppedError("later", status=75), 75)]
)
def test_a_log_learns_that_its_run_has_failed_and_the_error_goes_on(log, tmp_path, error, status):
    with pytest.raises(type(error)), run_log({"logger": {}}, tmp_path):
        raise error
    assert log.ended == [status]


def test_a_log_learns_that_its_run_has_ended_well(log, tmp_path):
    with run_log({"logger": {}}, tmp_path) as loggers:
        assert loggers == [log]
        assert log.ended == []
    assert log.ended == [0]


def test_a_log_that_cannot_be_ended_does_not_undo_the_run(log, tmp_path, capsys):
    log.end = lambda status: 1 / 0
    with run_log({"logger": {}}, tmp_path):
        pass
    assert "note: Log could not be ended: ZeroDivisionError" in capsys.readouterr().out


def test_only_the_main_process_ends_a_log(log, tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with run_log({"logger": {}}, tmp_path):
        pass
    assert log.ended == []


def test_metrics_csv_is_there_beside_another_log_so_that_reports_have_their_curves(tmp_path, configured):
    assert build_loggers(configured("logger=none")["logger"], tmp_path) == []
    for name in ("csv", "wandb", "tensorboard"):
        pytest.importorskip("csv" if name == "csv" else name)
        assert isinstance(build_loggers(configured(f"logger={name}")["logger"], tmp_path)[0], CSVLog)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["wandb", "tensorboard"])
def test_a_logger_that_is_not_installed_is_refused_with_the_extra_to_install(configured, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"logger={name}: .*pip install 'winnow-transformers\[{name}\]'"):
        check(configured(f"logger={name}"))


def test_a_mistyped_setting_of_a_logger_is_refused(configured):
    with pytest.raises(UserError, match=r"logger.projekt is not a setting.*Did you mean 'project'"):
        check(configured("logger=wandb", "+logger.projekt=x"))
