"""Write the deployment of a finished run, verified against PyTorch: ``export run=outputs/runs/...``."""

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from winnow.commands.hydra_errors import hydra_errors
from winnow.config.composed import plain_values
from winnow.config.outputs import Export
from winnow.config.run import saved_config
from winnow.config.section import Section
from winnow.deployment.exportable import exportable
from winnow.errors import short_errors
from winnow.files.conf_folder import CONF
from winnow.files.hub import work_offline_without_a_connection
from winnow.files.json_text import read_json
from winnow.files.run_files import read_result
from winnow.path_arguments import literal_paths
from winnow.plain_arguments import decoded, encoded
from winnow.quiet import limit_kernel_cache
from winnow.values import Text

_AS_TYPED = ("run",)  # read literally: Hydra's grammar does not apply


class Settings(Section):
    """``conf/export.yaml`` explains each setting."""

    run: Text
    export: Export


def main() -> None:
    sys.argv[1:] = literal_paths(encoded(sys.argv[1:], _AS_TYPED))
    with hydra_errors():
        _main()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="export")
def _main(composed: DictConfig) -> None:
    with short_errors():
        settings = Settings.read(decoded(plain_values(composed), _AS_TYPED))
        run = Path(settings.run)
        exportable(run, settings.export)
        work_offline_without_a_connection([saved_config(run).task.data.path])
        from winnow.deployment.export_run import export_run  # heavy: only once the settings are checked
        from winnow.reports.export_summary import export_summary
        from winnow.reports.model_card import write_cards

        limit_kernel_cache()
        folder = export_run(run, settings.export)
        write_cards(run)
        report = read_json(folder / "verification.json")
        print(export_summary(read_result(run), report, folder))
