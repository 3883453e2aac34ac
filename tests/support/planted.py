"""Run cocotag's command with a JPEG decoder that ends the process, as a native one may on a rare file.

It does so for files that end with `MARK`. With PLANTED_SIDE=N only if the shorter side must have N pixels (0: full size);
with PLANTED_ONCE=FILE only while FILE does not exist, which it makes, as when memory runs out by chance.
"""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from cocotag.photos.formats import table

MARK = b"ends the decoder"  # bytes behind a JPEG's end marker belong to nobody
JPEG = table.FORMATS["JPEG"]
SIDE = os.environ.get("PLANTED_SIDE")
ONCE = os.environ.get("PLANTED_ONCE")
SIGNAL = signal.Signals[os.environ.get("PLANTED_SIGNAL", "SIGABRT")]


def decode(name, data, wanted):
    if data.endswith(MARK) and SIDE in (None, str(wanted.min_side or 0)) and not (ONCE and Path(ONCE).exists()):
        if ONCE:
            Path(ONCE).touch()
        signal.raise_signal(SIGNAL)  # in this thread, as a fault in native code
    return JPEG.decode(name, data, wanted)


if __name__ == "__main__":
    table.FORMATS["JPEG"] = replace(JPEG, decode=decode)

    from cocotag.cli.guard import main

    sys.exit(main())
