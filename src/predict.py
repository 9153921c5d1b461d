"""``python -m src.predict ...``, the same as ``winnow predict ...``."""

from winnow.commands.predict import main

if __name__ == "__main__":
    main()
