"""Names of the hub, and cards of its models, as far as this machine knows them; nothing is sent or downloaded."""

import sys
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from winnow.errors import UserError, first_line
from winnow.files.checksums import CARD
from winnow.files.conf_folder import CONF
from winnow.files.local_files import looks_local

_PROOF = {"model": "config.json", "dataset": CARD}  # a file that is in the cache once a library has read the name


def hub_name(name: str | None, kind: Literal["model", "dataset"]) -> str | None:
    """The name if it is certainly that of a public place: one that Winnow ships, or one in the cache of the hub.

    None for every other name, which may be a folder: ``data/reviews`` is one only where the training was started.
    """
    if name is None or looks_local(name):
        return None
    return name if name in _shipped(kind) or cached(name, _PROOF[kind], kind) else None


def cached(name: str, file: str, kind: str = "model") -> Path | None:
    """A file of the hub in the local cache, or None."""
    from huggingface_hub import try_to_load_from_cache  # heavy
    from huggingface_hub.errors import HFValidationError

    try:
        path = try_to_load_from_cache(name, file, repo_type=kind)
    except HFValidationError:  # not a name of the hub
        return None
    return Path(path) if isinstance(path, str) else None


def card_metadata(name: str) -> dict[str, Any]:
    """The front matter of the card of a model; empty if there is none.

    Args:
        name: of a local folder, of a run, or of a model on the hub, whose card may be in the cache.
    """
    from huggingface_hub import metadata_load  # heavy

    folder = Path(name).expanduser()
    places = [folder / CARD, folder / "model" / CARD] if looks_local(name) else [cached(name, CARD)]
    for path in places:
        try:
            return (metadata_load(path) if path else None) or {}
        except FileNotFoundError:
            continue
        except (OSError, ValueError, yaml.YAMLError):  # somebody else's file
            break
    return {}


def published_card(card: Path, repository: str, license_name: str | None) -> bytes:
    """The card of a run with the name of the repository in its commands; a missing license is noted.

    Args:
        card: of ``model/``, which its owner may have edited.
        repository: OWNER/NAME.
        license_name: replaces that of the card.

    Raises:
        UserError: if the front matter cannot be read.
    """
    from huggingface_hub import ModelCard  # heavy

    try:
        edited = ModelCard(card.read_text(encoding="utf-8").replace("FOLDER", repository))
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{card}: the front matter is no YAML mapping ({first_line(error)}); repair it.") from error
    if license_name:
        edited.data["license"] = license_name
    if not edited.data.get("license"):
        print(
            "note: the card names no license; add one with license=NAME, such as license=apache-2.0.", file=sys.stderr
        )
    return str(edited).encode()


@cache
def _shipped(kind: str) -> set[str]:
    folder = CONF / ("model" if kind == "model" else "task")
    files = [yaml.safe_load(path.read_text()) for path in folder.glob("*.yaml")]
    return {each["name"] if kind == "model" else each["data"].get("path") for each in files}
