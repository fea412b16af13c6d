"""`python -m vlp_fast` is `vlp-fast`."""

from vlp_fast.cli import main
from vlp_fast.engine.launch import leave

if __name__ == "__main__":
    leave(main())
