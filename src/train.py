"""``python -m src.train ...``, the same as ``winnow train ...``."""

from winnow.commands.cli import run

if __name__ == "__main__":
    run("train")
