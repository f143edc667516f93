"""Writes the report of a working directory again: python -m qbm_jax.report WORKDIR."""

import argparse
import io
import sys

from qbm_jax import report
from qbm_jax.errors import InputError

parser = argparse.ArgumentParser(prog="python -m qbm_jax.report", description=__doc__)
parser.add_argument("workdir", help="a finished run, such as runs/pancreas")
if isinstance(sys.stdout, io.TextIOWrapper):
    sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show
try:
    print(report.write(parser.parse_args().workdir))
except InputError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
except OSError as error:
    print(f"error: {error.filename}: {error.strerror}; the report is as it was", file=sys.stderr)
    sys.exit(2)
