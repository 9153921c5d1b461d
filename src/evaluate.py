"""``python -m src.evaluate ...``, the same as ``winnow evaluate ...``."""

from winnow.commands.cli import run

if __name__ == "__main__":
    run("evaluate")
