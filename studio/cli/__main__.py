"""`python -m studio.cli`: the console command where its script is not installed."""

import sys

from studio.cli import main

if __name__ == "__main__":
    sys.exit(main())
