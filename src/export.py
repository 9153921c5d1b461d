"""Deploy a finished run: ``python -m src.export run=outputs/runs/...`` writes its deployment/, verified."""

import json
from pathlib import Path

import hydra
from omegaconf import DictConfig

from src.checks import check_export
from src.config import resolve
from src.errors import nearest_names, short_errors
from src.hub import work_offline_without_a_connection
from src.memory import limit_kernel_cache
from src.run_folder import read_config, read_result


@hydra.main(version_base="1.3", config_path="../conf", config_name="export")
def main(composed: DictConfig) -> None:
    with short_errors():
        settings = resolve(composed)
        check_export(settings["export"])
        run = Path(settings["run"])
        read_result(run)
        work_offline_without_a_connection({**read_config(run), "model": {"name": str(run), "config": None}})
        limit_kernel_cache()
        from src.deployment.export import export_run  # heavy imports wait until the settings are known to be good
        from src.reports.export import export_summary

        folder = export_run(run, settings["export"])
        report = json.loads((folder / "verification.json").read_text())
        print(export_summary(read_result(run), report, folder))


if __name__ == "__main__":
    with nearest_names():
        main()
