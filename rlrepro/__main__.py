"""`python -m rlrepro`: the `rlrepro` command, where it is not on the path."""

import sys

from rlrepro.cli import main

if __name__ == "__main__":
    sys.exit(main())
