"""Entry point of ``python -m cocotag``."""

import sys

from cocotag.cli.main import main

sys.exit(main())
