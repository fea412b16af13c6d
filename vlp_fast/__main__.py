"""`python -m vlp_fast` is `vlp-fast`."""

import sys

from vlp_fast.cli import main

if __name__ == "__main__":
    sys.exit(main())
