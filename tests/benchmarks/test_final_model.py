"""The measurement of refits and ensembles: holdouts and the table."""

import csv

import numpy as np

from benchmarks.final_model import format_rows, split_table


def test_holdout_is_a_fifth_and_no_row_is_in_both_files(tmp_path):
    table = tmp_path / "homes.csv"
    table.write_text("size,price\n" + "".join(f"{k},{k % 7}\n" for k in range(50)))
    sizes = []
    for path in split_table(table, tmp_path, seed=1):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        sizes.append({int(row["size"]) for row in rows})
        assert all(int(row["price"]) == int(row["size"]) % 7 for row in rows)
    assert [len(part) for part in sizes] == [40, 10]
    assert sizes[0] | sizes[1] == set(range(50))


def test_table_has_mean_errors_and_changes():
    holdouts = [
        {"fit": np.array([2.0, np.nan]), "fit --refit": np.array([1.0, np.nan])},
        {"fit": np.array([4.0, 3000.0]), "fit --refit": np.array([3.0, 1500.0])},
    ]
    base, refit = format_rows("trees", holdouts)
    assert base == "| `trees` | `fit` | 3 |  | 3,000 |  |"
    half = 12.706 * np.std([-50, -25], ddof=1) / np.sqrt(2)
    cells = refit.split(" | ")
    assert cells[2:4] == ["2", f"-37.5 % ({-37.5 - half:+.1f} to {-37.5 + half:+.1f})"]
    assert cells[4] == "1,500"
