"""``python -m cocotag``."""

import sys

from cocotag.cli import main

sys.exit(main())
