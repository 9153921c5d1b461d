"""Upload files to a model repository of the hub, in one commit: all of them appear, or none."""

import re
from collections.abc import Mapping
from pathlib import Path

from winnow.errors import UserError
from winnow.files.hub import is_reachable

# Files that a model of Winnow has; those of an earlier model would be read together with the new one.
_OF_A_MODEL = re.compile(r"deployment/.*|[^/]+\.safetensors(\.index\.json)?|structure\.json|SHA256SUMS")


def check_repository(name: str) -> None:
    """Refuse a name that cannot be that of a repository, before anything is read or sent."""
    from huggingface_hub.errors import HFValidationError  # heavy
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, but in no __all__

    try:
        validate_repo_id(name)
        valid = name.count("/") == 1
    except HFValidationError:
        valid = False
    if not valid:
        raise UserError(
            f"repo={name}: a repository of the hub is named OWNER/NAME, with letters, digits and single - _ . in each "
            "part, such as repo=jane/bert-sst2-prune90."
        )


def check_access() -> None:
    """Refuse an upload without a connection or a token."""
    from huggingface_hub import constants, get_token  # heavy

    if constants.HF_HUB_OFFLINE:
        raise UserError("HF_HUB_OFFLINE=1 forbids connections to the hub; unset it, or add dry_run=true.")
    if not get_token():
        raise UserError(
            "the hub needs a token with write permission, and there is none: run 'hf auth login', or set HF_TOKEN."
        )
    if not is_reachable(constants.ENDPOINT):
        raise UserError(f"{constants.ENDPOINT} cannot be reached; add dry_run=true to see what would be uploaded.")


def upload(files: Mapping[str, Path | bytes], repository: str, private: bool) -> str:
    """Upload files, and remove those of an earlier model from the repository.

    Args:
        files: by path in the repository.
        repository: OWNER/NAME; it is made if it does not exist.
        private: nobody else may see it; a public repository that exists is refused.

    Returns:
        The address of the commit.

    Raises:
        UserError: if the hub refuses it; the files in the repository are then as they were.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi  # heavy
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi()
    try:
        api.create_repo(repository, private=private or None, exist_ok=True)
        found = api.model_info(repository)
        if private and not found.private:
            raise UserError(
                f"private=true: {repository} exists and is public; make it private in its settings on the hub, or name "
                "another one."
            )
        present = {each.rfilename for each in found.siblings or ()}
        stale = sorted(name for name in present - files.keys() if _OF_A_MODEL.fullmatch(name))
        added = [CommitOperationAdd(name, content) for name, content in files.items()]
        removed = [CommitOperationDelete(name) for name in stale]
        commit = api.create_commit(repository, [*added, *removed], commit_message="Upload a model of Winnow")
    except UserError:
        raise
    except (HfHubHTTPError, ValueError) as error:  # a ValueError: of the card's front matter
        reason = getattr(error, "server_message", None) or str(error)
        raise UserError(f"repo={repository}: the hub refused it ({' '.join(reason.split())}).") from error
    return str(commit.commit_url)
