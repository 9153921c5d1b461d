"""``python -m src.export ...``, the same as ``winnow export ...``."""

from winnow.commands.cli import run

if __name__ == "__main__":
    run("export")
