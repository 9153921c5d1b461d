"""Deploy a finished run: ``python -m src.export run=outputs/runs/...`` writes its deployment/, verified."""

import json
from pathlib import Path

import hydra
from omegaconf import DictConfig

from winnow.config.checks import check_export
from winnow.config.resolve import resolve
from winnow.errors import nearest_names, short_errors
from winnow.files.conf_folder import CONF
from winnow.files.hub import work_offline_without_a_connection
from winnow.files.run_files import read_config, read_result
from winnow.quiet import limit_kernel_cache


def main() -> None:
    with nearest_names():
        _main()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="export")
def _main(composed: DictConfig) -> None:
    with short_errors():
        settings = resolve(composed)
        check_export(settings["export"])
        run = Path(settings["run"])
        read_result(run)
        work_offline_without_a_connection({**read_config(run), "model": {"name": str(run), "config": None}})
        limit_kernel_cache()
        from winnow.deployment.export_run import (
            export_run,  # heavy imports wait until the settings are known to be good
        )
        from winnow.reports.export_summary import export_summary

        folder = export_run(run, settings["export"])
        report = json.loads((folder / "verification.json").read_text())
        print(export_summary(read_result(run), report, folder))


if __name__ == "__main__":
    main()
