"""python -m tritonexp."""

import sys

from tritonexp.cli import main

if __name__ == "__main__":
    sys.exit(main())
