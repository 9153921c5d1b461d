"""Upload the model of a run, and its deployment, to the hub: ``push run=outputs/runs/... repo=OWNER/NAME``."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import hydra
from omegaconf import DictConfig

from winnow.commands.hydra_errors import hydra_errors
from winnow.config.composed import plain_values
from winnow.config.section import Section
from winnow.errors import short_errors
from winnow.files.checksums import CARD
from winnow.files.conf_folder import CONF
from winnow.files.hub_cards import published_card
from winnow.files.hub_upload import check_access, check_repository, upload
from winnow.plain_arguments import decoded, encoded
from winnow.runs.publishing import files_to_publish
from winnow.text import aligned
from winnow.values import Expected, Text, TextOrNull, YesNo

_AS_TYPED = ("run", "repo")  # read literally: Hydra's grammar does not apply

WithDeployment = Annotated[Literal["auto"] | bool, Expected("auto, true or false")]


class Settings(Section):
    """``conf/push.yaml`` explains each setting."""

    run: Text
    repo: Text
    private: YesNo
    deployment: WithDeployment
    license: TextOrNull
    dry_run: YesNo


def main() -> None:
    sys.argv[1:] = encoded(sys.argv[1:], _AS_TYPED)
    with hydra_errors():
        _main()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="push")
def _main(composed: DictConfig) -> None:
    with short_errors():
        settings = Settings.read(decoded(plain_values(composed), _AS_TYPED))
        check_repository(settings.repo)
        run, with_deployment = Path(settings.run), None if settings.deployment == "auto" else settings.deployment
        files = files_to_publish(run, with_deployment)
        if not settings.dry_run:
            check_access()
        if CARD not in files:  # of an earlier version, or of a dense teacher
            from winnow.reports.model_card import write_cards  # heavy

            write_cards(run)
            files[CARD] = run / "model" / CARD
        card = published_card(files[CARD], settings.repo, settings.license)
        print(_listing(files, len(card), settings))
        if not settings.dry_run:
            print(f"\nuploaded: {upload({**files, CARD: card}, settings.repo, settings.private)}")


def _listing(files: Mapping[str, Path], card_size: int, settings: Settings) -> str:
    sizes = {name: path.stat().st_size for name, path in files.items()} | {CARD: card_size}
    table = [[name, f"{size:,} bytes", str(files[name])] for name, size in sorted(sizes.items())]
    seen = "private" if settings.private else "public, unless it exists and is private"
    return "\n".join([
        f"{'dry run, nothing is sent: ' if settings.dry_run else ''}{settings.repo} ({seen})",
        "",
        *aligned([*table, ["in all", f"{sum(sizes.values()):,} bytes", ""]], left=(0, 2)),
    ])  # fmt: skip
