"""Show what a recipe would do, step by step, without training: ``plan task=squad recipe=prune80``."""

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from pydantic import Field

from winnow.commands.hydra_errors import hydra_errors
from winnow.config.checks import check
from winnow.config.composed import plain_values
from winnow.config.resolve import run_config
from winnow.config.section import Section
from winnow.errors import short_errors
from winnow.files.atomic import write_atomically
from winnow.files.conf_folder import CONF
from winnow.files.hub import work_offline_without_a_connection
from winnow.files.json_text import json_text
from winnow.path_arguments import literal_paths
from winnow.quiet import quiet_libraries
from winnow.values import TextOrNull, YesNo


class Settings(Section):
    """``conf/plan.yaml`` explains each setting."""

    json_file: TextOrNull = Field(alias="json")
    picture: TextOrNull
    all: YesNo


def main() -> None:
    sys.argv[1:] = literal_paths(sys.argv[1:])
    with hydra_errors():
        _main()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="plan")
def _main(composed: DictConfig) -> None:
    with short_errors():
        overrides = list(HydraConfig.get().overrides.task)
        config = run_config(composed, overrides)
        check(config, overrides)
        options = Settings.read(plain_values(composed).get("plan"), "plan")
        work_offline_without_a_connection(config.hub_names)
        from winnow.reports.plan_text import draw_plan, plan_text  # heavy: only once the configuration is checked
        from winnow.training.planning import make_plan

        quiet_libraries()
        if config.translation is not None:
            print(config.translation.report + "\n")
        plan = make_plan(config)
        curves = plan.pop("curves")
        files = {"picture": options.picture, "json": options.json_file}
        if options.picture:
            draw_plan(curves, plan, Path(options.picture))
        if options.json_file:
            write_atomically(Path(options.json_file), json_text(plan, indent=2) + "\n")
        print(plan_text(plan, every_event=options.all))
        for kind, file in files.items():
            if file:
                print(f"{kind:8} {file}")
