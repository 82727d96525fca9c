"""Download a data set. MINIGRAD_CACHE names the folder to put it in, MINIGRAD_MIRROR an address to try first."""

import argparse
from pathlib import Path

from minigrad.data.fetch import DATA_SETS, fetch

parser = argparse.ArgumentParser("python -m minigrad.data", description=__doc__)
parser.add_argument("name", choices=DATA_SETS)
parser.add_argument("--root", type=Path, help="another folder to put it in")
arguments = parser.parse_args()
try:
    print(fetch(arguments.name, arguments.root))
except (OSError, ValueError) as error:
    raise SystemExit(str(error)) from error
