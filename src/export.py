"""``python -m src.export ...``, the same as ``winnow export ...``."""

from winnow.commands.export import main

if __name__ == "__main__":
    main()
