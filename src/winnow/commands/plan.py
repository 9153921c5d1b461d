"""What a recipe would do, step by step, without training: ``python -m src.plan task=squad recipe=prune80``."""

import json
from pathlib import Path

import hydra
from omegaconf import DictConfig

from winnow.config.checks import check, check_known
from winnow.config.resolve import resolve
from winnow.errors import nearest_names, short_errors
from winnow.files.atomic import write_atomically
from winnow.files.conf_folder import CONF
from winnow.files.hub import work_offline_without_a_connection


def main() -> None:
    with nearest_names():
        _main()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="plan")
def _main(composed: DictConfig) -> None:
    with short_errors():
        config = resolve(composed)
        options = config.pop("plan")
        check_known("plan", options, ("json", "picture", "all"))
        check(config)
        work_offline_without_a_connection(config)
        from winnow.quiet import quiet_libraries
        from winnow.reports.plan_text import draw_plan, plan_text
        from winnow.training.planning import make_plan

        quiet_libraries()
        if "translation" in config:
            print(config["translation"]["report"] + "\n")
        plan = make_plan(config)
        curves = plan.pop("curves")
        if options["picture"]:
            draw_plan(curves, plan, Path(options["picture"]))
        if options["json"]:
            write_atomically(Path(options["json"]), json.dumps(plan, indent=2) + "\n")
        print(plan_text(plan, every_event=options["all"]))
        for kind in ("picture", "json"):
            if options[kind]:
                print(f"{kind:8} {options[kind]}")


if __name__ == "__main__":
    main()
