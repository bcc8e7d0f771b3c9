#!/usr/bin/env bash
# resreg 0.2: every call seeds NumPy's global generator, even without a seed.
#
# The functions call np.random.seed(random_state). With a seed, later draws of the program from np.random
# are the same whatever the program seeded before. With None, the documented way to use the global
# generator, the call reseeds it from the operating system: np.random.seed at the start of a script does not
# make the result reproducible. Source: random_oversample, called after np.random.seed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "resreg==0.2" "numpy==2.4.6" "pandas==3.1.1"
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY' 2> /dev/null
import numpy as np
import resreg

features, labels = np.arange(40.0)[:, None], np.concatenate([np.arange(30.0), np.arange(90.0, 100)])
relevance = (labels > 50).astype(float)


def resample(seed, random_state):
    """Return the resampled labels and the next draw of the global generator."""
    np.random.seed(seed)
    _, new = resreg.random_oversample(features, labels, relevance, random_state=random_state)
    return tuple(new.tolist()), np.random.rand()


results = {resample(0, None)[0] for _ in range(5)}
draws = {resample(seed, 3)[1] for seed in range(5)}
print(f"resreg 0.2: {len(results)} different results of 5 calls after np.random.seed(0)")
print(f"resreg 0.2: {len(draws)} different next draw after 5 different seeds and random_state=3")
assert len(results) == 5 and len(draws) == 1, "the behavior changed"
PY
