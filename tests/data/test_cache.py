import json

import pytest

from ranksim.data.cache import write_json


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"a": [1, 2.5, None, -3e-07], "b": "x"}, '{\n "a": [1, 2.5, null, -3e-07],\n "b": "x"\n}'),
        ([[1, 2], [3, 4]], "[\n [1, 2],\n [3, 4]\n]"),
        ({"a": [], "b": {}, "c": [[]]}, '{\n "a": [],\n "b": {},\n "c": [\n  []\n ]\n}'),
        (["a", 1], '[\n "a",\n 1\n]'),
        (["[\n 1\n]", "null"], '[\n "[\\n 1\\n]",\n "null"\n]'),
        ([True, 1], "[\n true,\n 1\n]"),
    ],
)
def test_numbers_stand_on_one_line_and_all_else_as_ever(tmp_path, content, text):
    write_json(tmp_path / "a.json", content)
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == text
    assert json.loads(text) == content


def test_what_is_no_json_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert list(tmp_path.iterdir()) == []
