"""`python -m vlp_fast` is `vlp-fast`."""

from vlp_fast.cli import leave, main

if __name__ == "__main__":
    leave(main())
