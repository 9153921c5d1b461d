import sys

import pytest

from winnow.config.checks import check
from winnow.errors import StoppedError, UserError
from winnow.loggers import build
from winnow.loggers.build import build_loggers, log_again
from winnow.loggers.csv_log import CSVLog
from winnow.loggers.run_log import run_log


class Log:
    def __init__(self):
        self.ended = []

    def end(self, status):
        self.ended.append(status)


@pytest.fixture
def log():
    return Log()


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("no"), 1), (KeyboardInterrupt(), 1), (StoppedError("later", status=75), 75)]
)
def test_a_logger_is_closed_with_the_status_of_a_failed_run_and_the_error_is_raised(log, error, status):
    def failing_run():
        with run_log() as loggers:
            loggers.append(log)
            raise error

    with pytest.raises(type(error)):
        failing_run()
    assert log.ended == [status]


def test_a_logger_is_closed_with_status_0_after_a_successful_run(log):
    with run_log() as loggers:
        loggers.append(log)
        assert log.ended == []
    assert log.ended == [0]


def test_a_logger_that_cannot_be_closed_does_not_fail_the_run(log, capsys):
    log.end = lambda status: 1 / 0
    with run_log() as loggers:
        loggers.append(log)
    assert "note: Log could not be closed: ZeroDivisionError" in capsys.readouterr().out


def test_only_the_main_process_closes_a_logger(log, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with run_log() as loggers:
        loggers.append(log)
    assert log.ended == []


def test_metrics_csv_is_written_beside_another_logger_for_the_curves_of_reports(tmp_path, configured):
    assert build_loggers(configured("logger=none").logger, tmp_path) == []
    for name in ("csv", "wandb", "tensorboard"):
        pytest.importorskip("csv" if name == "csv" else name)
        assert isinstance(build_loggers(configured(f"logger={name}").logger, tmp_path)[0], CSVLog)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["wandb", "tensorboard"])
def test_a_logger_that_is_not_installed_is_refused_with_the_extra_to_install(configured, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"logger={name}: .*pip install 'winnow-transformers\[{name}\]'"):
        check(configured(f"logger={name}"))


def test_a_mistyped_setting_of_a_logger_is_refused(configured):
    with pytest.raises(UserError, match=r"logger.projekt is not a setting.*Did you mean 'project'"):
        check(configured("logger=wandb", "+logger.projekt=x"))


def test_a_run_copied_from_another_folder_is_logged_with_its_metrics(tmp_path, configured, monkeypatch):
    class Again(Log):
        def begin(self, config, resumed):
            self.rows = []

        def log_metrics(self, metrics, step):
            self.rows.append((step, metrics))

    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "metrics.csv").write_text("epoch,step,val/accuracy\n0,9,0.5\n")
    monkeypatch.setattr(build, "build_loggers", lambda settings, folder: [CSVLog(folder), Again()])
    loggers = []
    log_again(configured("logger=csv"), tmp_path, loggers)
    assert [log.rows for log in loggers] == [[(9, {"epoch": 0.0, "val/accuracy": 0.5})]]
