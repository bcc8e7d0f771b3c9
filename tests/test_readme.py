"""What the README shows must run."""

import re
from pathlib import Path

import torch
from torch import nn

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_example_trains():
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(code.strip().splitlines()) <= 12
    encoder, head = nn.Linear(5, 8), nn.Linear(8, 1)
    loader = [(torch.randn(16, 5), torch.randint(18, 80, (16,)).float())]
    exec(code, {"loader": loader, "encoder": encoder, "head": head})
    assert encoder.weight.grad.abs().sum() > 0


def test_there_are_two_set_up_commands_and_no_dead_links():
    setup = README[README.index("## Set up") : README.index("## In your training loop")]
    assert re.findall(r"^    (\S+ \S+)", setup, flags=re.MULTILINE) == ["make demo", "make test"]
    root = Path(__file__).resolve().parents[1]
    for page in [root / "README.md", *(root / "docs").glob("*.md"), root / "results/README.md"]:
        for link in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert link.startswith("http") or (page.parent / link).exists(), (page, link)
