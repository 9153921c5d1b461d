"""Score the model of a run folder again: ``python -m src.evaluate run=outputs/runs/...``."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from src.config import register_resolvers
from src.errors import UserError, nearest, short_errors
from src.local_files import resolve_model_folder
from src.run_folder import read_config, read_result

register_resolvers()


@hydra.main(version_base="1.3", config_path="../conf", config_name="evaluate")
def main(config: DictConfig) -> None:
    with short_errors():
        if config.get("run", None) is None:
            raise UserError("run must be given: python -m src.evaluate run=FOLDER, a folder that holds result.json.")
        folder = Path(config.run)
        row = read_result(folder)
        model_folder = resolve_model_folder(str(folder), setting="run")
        evaluate_run(folder, model_folder, row, config.split, config.batch_size)


def evaluate_run(folder, model_folder, row, split, batch_size):
    pass


if __name__ == "__main__":
    main()
