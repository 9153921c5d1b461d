"""``python -m src.sensitivity ...``, the same as ``winnow sensitivity ...``."""

from winnow.commands.cli import run

if __name__ == "__main__":
    run("sensitivity")
