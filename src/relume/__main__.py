r"""``python -m relume``: the command line."""

__all__: list[str] = []

import sys

from relume.cli import main

if __name__ == "__main__":
    sys.exit(main())
