"""``python -m src.report ...``, the same as ``winnow report ...``."""

from winnow.commands.cli import run

if __name__ == "__main__":
    run("report")
