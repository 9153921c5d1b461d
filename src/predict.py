"""``python -m src.predict ...``, the same as ``winnow predict ...``."""

from winnow.commands.cli import run

if __name__ == "__main__":
    run("predict")
