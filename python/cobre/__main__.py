"""``python -m cobre`` is the ``cobre`` command."""

import sys

from cobre.cli import main

if __name__ == "__main__":
    sys.exit(main())
