"""``python -m src.evaluate ...``, the same as ``winnow evaluate ...``."""

from winnow.commands.evaluate import main

if __name__ == "__main__":
    main()
