#!/usr/bin/env bash
# PyTorch 2.13.0: creating an optimizer, or asking for deterministic algorithms, imports the whole compiler.
#
# `import torch` leaves torch._dynamo out, and plain eager code seems to have no use for it. Yet the first
# torch.optim.Adam(...) of a process imports it, since adding a parameter group is marked as "not compiled", and
# torch.use_deterministic_algorithms(True) imports torch._inductor's configuration, which imports it too: seconds
# of start-up in every worker process of a sweep of small networks. The function torch.optim.adam.adam and
# torch.set_deterministic_debug_mode("warn") compute the same without that import.
# Source: torch/_compile.py, torch/optim/optimizer.py and torch/__init__.py of the release, run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" "numpy==2.4.6"
cd "$folder"
cat > probe.py <<'PY'
import sys, time
import torch
from torch.optim.adam import adam

assert "torch._dynamo" not in sys.modules, "import torch imports the compiler"
weight = torch.zeros(1, requires_grad=True)
state = [torch.zeros(1)], [torch.zeros(1)], [], [torch.zeros(())]
actions = {
    "the class torch.optim.Adam": lambda: torch.optim.Adam([weight]),
    "torch.use_deterministic_algorithms": lambda: torch.use_deterministic_algorithms(True),
    "the function torch.optim.adam.adam": lambda: adam(
        [weight.detach()], [torch.ones(1)], *state, fused=True, amsgrad=False, beta1=0.9, beta2=0.999,
        lr=0.1, weight_decay=0.0, eps=1e-8, maximize=False,
    ),
    "torch.set_deterministic_debug_mode": lambda: torch.set_deterministic_debug_mode("warn"),
}
name = sys.argv[1]
start = time.perf_counter()
actions[name]()
imported = "torch._dynamo" in sys.modules
seconds = time.perf_counter() - start
print(f"torch {torch.__version__}: {name} imports the compiler: {imported} ({seconds:.2f} s)")
assert imported == (sys.argv[2] == "yes"), "the behavior changed"
PY
"$folder/venv/bin/python" probe.py "the class torch.optim.Adam" yes
"$folder/venv/bin/python" probe.py "torch.use_deterministic_algorithms" yes
"$folder/venv/bin/python" probe.py "the function torch.optim.adam.adam" no
"$folder/venv/bin/python" probe.py "torch.set_deterministic_debug_mode" no
