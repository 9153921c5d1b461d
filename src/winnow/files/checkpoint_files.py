"""Checkpoints on disk: is one intact?"""

import zipfile
from pathlib import Path

from winnow.errors import UserError


def is_intact(path: Path) -> bool:
    """True if a checkpoint can be opened and every entry matches its checksum."""
    import torch  # heavy, and only needed where there is a checkpoint

    try:
        torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        with zipfile.ZipFile(path) as file:
            # sizes and the folder bit have no checksum, but change the weights that torch reads
            plain = all(e.file_size == e.compress_size and not e.external_attr for e in file.infolist())
            return plain and file.testzip() is None
    except Exception:  # a damaged file fails in many ways
        return False


def check_best(path: Path) -> None:
    """Refuse a damaged checkpoint of the best model, which is in no other file."""
    if not is_intact(path):
        raise UserError(
            f"{path} is damaged or missing, and no other file has the best model so far. Run the same command without "
            "resume=true to start anew; or delete the file and resume, which keeps the best model of the validations "
            "to come."
        )
