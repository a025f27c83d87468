"""Entry point of ``python -m headpose``: the command line."""

import sys

from headpose.cli import main

if __name__ == "__main__":
    sys.exit(main())
