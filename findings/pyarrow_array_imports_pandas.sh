#!/usr/bin/env bash
# pyarrow 26.0.1: pyarrow.array of plain Python strings imports pandas, if it is installed; building the same array
# from a buffer, or reading a file, does not.
#
# "import pyarrow" and reading a CSV or Parquet file leave pandas alone. The first call of pyarrow.array (and of
# pyarrow.scalar), even on a list of strings, imports pandas to ask whether the argument is one of its objects: a third
# of a second and more in a command that never uses pandas, in each worker process again. pyarrow.Array.from_buffers,
# or pyarrow.csv.read_csv of the same values, avoids it. Source: sys.modules after each call, run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "pyarrow==26.0.1" "pandas==2.3.3"
"$folder/venv/bin/python" - <<'PY'
import io
import sys

import pyarrow
from pyarrow import csv

print(f"pyarrow {pyarrow.__version__}, pandas imported after")
read = csv.read_csv(io.BytesIO(b"name\na\nb\n"))
print(f"  import and read_csv: {'pandas' in sys.modules}")
assert "pandas" not in sys.modules, "the behavior changed"
offsets = pyarrow.py_buffer(b"\x00\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00")
built = pyarrow.Array.from_buffers(pyarrow.string(), 2, [None, offsets, pyarrow.py_buffer(b"ab")])
print(f"  Array.from_buffers:  {'pandas' in sys.modules}")
assert "pandas" not in sys.modules, "the behavior changed"
array = pyarrow.array(["a", "b"])
print(f"  array of strings:    {'pandas' in sys.modules}")
assert "pandas" in sys.modules, "the behavior changed"
assert array.equals(built) and array.equals(read["name"].combine_chunks())
PY
