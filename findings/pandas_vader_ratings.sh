#!/usr/bin/env bash
# pandas 3.1.1: the default read of VADER's rated sentences loses rows without an error.
#
# The ground-truth files of vaderSentiment 3.3.2 are tab-separated, without quoting, one rating and one
# sentence per line, and sentences contain unpaired double quotes. pandas takes these for quoted fields that
# span lines: of 3,708 Amazon sentences it returns 3,546 and of 5,190 sentences of NYT editorials 5,183, with
# the lines in between swallowed into one text. quoting=csv.QUOTE_NONE gives every line. Source: the files of
# the source distribution, read below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "pandas==3.1.1" setuptools wheel
"$folder/venv/bin/pip" download -q --no-deps --no-build-isolation --no-binary :all: --dest "$folder" "vaderSentiment==3.3.2"
tar -xzf "$folder"/vader*.tar.gz -C "$folder"
tar -xzf "$folder"/vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz -C "$folder"
FOLDER="$folder" "$folder/venv/bin/python" -W ignore - <<'PY'
import csv
import os
from pathlib import Path

import pandas as pd

counts = {}
for name in ("amazonReviewSnippets_GroundTruth.txt", "nytEditorialSnippets_GroundTruth.txt"):
    (path,) = Path(os.environ["FOLDER"]).rglob(name)
    lines = len(path.read_bytes().splitlines())
    options = {"sep": "\t", "header": None, "encoding": "utf-8", "encoding_errors": "replace"}
    default = len(pd.read_csv(path, **options))
    unquoted = len(pd.read_csv(path, quoting=csv.QUOTE_NONE, **options))
    print(f"pandas {pd.__version__}, {name}: {lines} lines, {default} rows, {unquoted} unquoted")
    counts[name] = lines - default
    assert unquoted == lines, "the behavior changed"
assert list(counts.values()) == [162, 7], "the behavior changed"
PY
