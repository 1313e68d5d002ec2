"""`python -m gradbook` is the command `gradbook`."""

import sys

from gradbook.cli import main

if __name__ == "__main__":
    sys.exit(main())
