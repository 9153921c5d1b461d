"""``python -m src.report ...``, the same as ``winnow report ...``."""

from winnow.commands.report import main

if __name__ == "__main__":
    main()
