"""Papers and licenses of methods."""

import pytest

from ranksim.training.method import family_method_names, parse_method
from ranksim.training.parts import PARTS
from ranksim.training.publications import find_license, find_paper


@pytest.mark.parametrize("name", [name for name in family_method_names() if name != "vanilla"])
def test_each_method_of_the_family_has_a_paper(name):
    method = parse_method(name, "inverse")
    assert find_paper(method)
    if not name.endswith("ranksim"):
        joined = parse_method(f"{name}+ranksim", "inverse")
        assert find_paper(joined) == find_paper(method)
        assert find_license(joined) == find_license(method)


def test_papers_of_parts_are_those_of_their_table():
    for name, part in PARTS.items():
        assert find_paper(parse_method(f"vanilla+{name}", "inverse")) == part.paper


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("vanilla", None), ("sqinv", "MIT"), ("rrt+lds", "MIT"), ("vanilla+conr", "CC BY-NC-SA"),
        ("vanilla+ranksim", "CC BY-NC-SA"), ("vanilla+rnc+ranksim", None), ("trees+inv", "MIT"),
    ],
)  # fmt: skip
def test_license_is_that_of_the_last_part(name, code):
    assert find_license(parse_method(name, "inverse")) == code
