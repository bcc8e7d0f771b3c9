"""Arrow arrays are made without pandas, whose import takes longer than small tables."""

import subprocess
import sys

import numpy as np
import pytest

from ranksim.data.arrow_arrays import make_array, make_texts

arrow = pytest.importorskip("pyarrow")


@pytest.mark.parametrize(
    "values",
    [
        *(np.array([1.5, np.nan, -0.0]), np.arange(5), np.arange(4, dtype=np.int32)[::2]),
        *(np.arange(19) % 3 == 0, np.zeros(0, np.bool_), np.zeros(0)),
    ],
)
def test_arrays_hold_the_values(values):
    array = make_array(values)
    array.validate(full=True)
    np.testing.assert_array_equal(array.to_numpy(zero_copy_only=False), values)


@pytest.mark.parametrize("texts", [[], ["a"], ["", "żółty", "b\0", ""]])
def test_texts_are_kept(texts):
    array = make_texts(texts)
    array.validate(full=True)
    assert array.equals(arrow.array(texts, arrow.large_string()))


def test_small_csv_files_are_read_without_arrow(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,x\n2.5,\n1,x\n")
    code = (
        "import sys, numpy as np\n"
        "from ranksim.data.reading import load_table\n"
        "from ranksim.user_data.proposals import find_column_kinds\n"
        f"table = load_table({str(tmp_path / 't.csv')!r})\n"
        "find_column_kinds(table.take(np.arange(2)), 'a', np.arange(2))\n"
        "assert 'pyarrow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pandas_is_not_imported():
    code = (
        "import sys, numpy as np\n"
        "from ranksim.data.row_hashes import format_numbers, hash_rows, repeat_texts\n"
        "numbers = format_numbers(np.array([1.0, 0.5, np.nan]), 'missing')\n"
        "hash_rows([numbers, repeat_texts(['a'], np.zeros(3, np.int32)), ['1', '2', '3']])\n"
        "assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
