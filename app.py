"""Reward Studio from a checkout: `python app.py serve --demo`, the same as `reward-studio`."""

import sys

from studio.cli import main

if __name__ == "__main__":
    sys.exit(main())
