"""The files of a run that are uploaded to the hub, checked."""

from collections.abc import Iterator
from pathlib import Path

from winnow.command_line import command_line
from winnow.deployment.folder import GRAPH, check_files
from winnow.errors import UserError
from winnow.files.atomic import complete_files
from winnow.files.checksums import CARD, SUMS, listed_sums
from winnow.files.local_files import resolve_model_folder
from winnow.files.run_files import is_good, read_result

_TEXTS = ("", ".json", ".jinja", ".md", ".model", ".txt")  # suffixes of files that may name a place on this machine


def files_to_publish(run: Path, deployment: bool | None) -> dict[str, Path]:
    """Files by their path in the repository: those of ``model/``, and of ``deployment/`` below ``deployment/``.

    Args:
        run: folder of a finished run.
        deployment: whether its deployment is uploaded too; None: if there is one.

    Raises:
        UserError: for a run that has not ended well, a damaged file, and one that names a place on this machine.
    """
    row = read_result(run)
    if row.get("status") != "ok":
        raise UserError(f"run={run}: the run has failed ({row.get('error')}), so there is no model to upload.")
    if not is_good(row) and deployment is not False:
        raise UserError(f"run={run}: its export has failed ({row['error']}); export it again, or add deployment=false.")
    model, graph = resolve_model_folder(str(run / "model"), setting="run"), run / "deployment" / GRAPH
    files = {name: model / name for name in _names(model)}
    exported = "deployment" in row and graph.is_file()
    if deployment and not exported:
        raise UserError(
            f"deployment=true: the run has no deployment; make it with {command_line('export', f'run={run}')}."
        )
    if exported and deployment is not False:
        check_files(graph.parent, lambda name: True)
        files |= {f"deployment/{name}": graph.parent / name for name in _names(graph.parent)}
    _check_places(run, files)
    return files


def _names(folder: Path) -> Iterator[str]:
    """The files that Winnow wrote; without a list of them all that are not hidden."""
    listed = {*listed_sums(folder), SUMS, CARD} if (folder / SUMS).is_file() else None
    for path in sorted(complete_files(folder)):
        name = path.relative_to(folder).as_posix()
        if name in listed if listed is not None else not name.startswith("."):
            yield name


def _check_places(run: Path, files: dict[str, Path]) -> None:
    places = {f"{place}/" for place in (Path.home(), Path.cwd(), run.resolve().parent) if len(place.parts) > 1}
    for path in (path for path in files.values() if path.suffix in _TEXTS):
        text = path.read_text(encoding="utf-8", errors="replace")
        if found := next((place for place in sorted(places) if place in text), None):
            raise UserError(
                f"{path} names a folder of this machine ({found}), which would be published; remove it from the file, "
                f"and delete {SUMS} beside it."
            )
