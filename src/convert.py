"""``python -m src.convert ...``, the same as ``winnow convert ...``."""

from winnow.commands.cli import run

if __name__ == "__main__":
    run("convert")
