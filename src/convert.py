"""``python -m src.convert ...``, the same as ``winnow convert ...``."""

from winnow.commands.convert import main

if __name__ == "__main__":
    main()
