"""Run the examples and write their pages with what they print, ``docs/gallery``.

    python scripts/gallery.py [NAME ...]

Without names all examples run, which takes a few minutes. Pages show the code by reference, so
only the output is stored in them.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs/gallery"
EXAMPLES = {  # in the order of the gallery
    "tables": "Tables with trees",
    "own_model": "A PyTorch model of your own",
    "lightning_module": "Lightning",
    "trainer": "Hugging Face Trainer",
    "images": "Images",
    "series": "Time series",
    "dense": "One label per pixel",
    "sklearn_weights": "Weights for scikit-learn",
    "sklearn_regressor": "A grid search in scikit-learn",
    "reading": "Reading the page",
}


def write_page(name: str, output: str) -> str:
    """Return the page of an example: its description, its code by reference, its output."""
    tree = ast.parse((ROOT / f"examples/{name}.py").read_text(encoding="utf-8"))
    description = (ast.get_docstring(tree) or "").strip()
    return (
        f"# {EXAMPLES[name]}\n\n{description}\n\n"
        f"## Output\n\n```text\n{output.rstrip()}\n```\n\n"
        f"## Code\n\n[`examples/{name}.py`](../../examples/{name}.py)\n\n"
        f'```{{ .python }}\n--8<-- "examples/{name}.py"\n```\n'
    )


def write_index() -> str:
    """Return the page that lists all examples, with the first sentence of each."""
    lines = [
        "# Gallery",
        "",
        "Complete scripts with their output; each runs offline on data that it generates or that",
        "is in the repository. The tests run all of them in short form.",
        "",
        "| example | what it shows |",
        "| --- | --- |",
    ]
    for name, title in EXAMPLES.items():
        tree = ast.parse((ROOT / f"examples/{name}.py").read_text(encoding="utf-8"))
        first = (ast.get_docstring(tree) or "").split("\n\n")[0].replace("\n", " ")
        lines.append(f"| [{title}]({name}.md) | {first} |")
    return "\n".join(lines) + "\n"


def run_example(name: str) -> str:
    """Run an example as a script and return what it prints."""
    script = ROOT / f"examples/{name}.py"
    command, env = [sys.executable, "-W", "ignore", str(script)], {**os.environ, "COLUMNS": "100"}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout


if __name__ == "__main__":
    PAGES.mkdir(exist_ok=True)
    (PAGES / "index.md").write_text(write_index(), encoding="utf-8")
    for example in sys.argv[1:] or EXAMPLES:
        page = write_page(example, run_example(example))
        (PAGES / f"{example}.md").write_text(page, encoding="utf-8")
