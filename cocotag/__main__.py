"""Entry point of ``python -m cocotag``."""

import sys

from cocotag.cli.guard import main

sys.exit(main())
