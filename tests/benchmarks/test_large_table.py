import pytest

from benchmarks.large_table import MAX_MEMORY, TARGET, TASKS, measure, write_table

SIZES = (100_000, 300_000)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["inspect", "fit vanilla, 1,000 steps"])
def test_memory_grows_with_the_columns(name, tmp_path):
    """Each row adds at most three times its bytes in Arrow types to the peak of the process."""
    task, *words = TASKS[name]
    peaks, sizes = [], []
    for rows in SIZES:
        path = tmp_path / f"{rows}.parquet"
        write_table(path, rows)
        sizes.append(measure(path, "read")["size"])
        options = [*words, "--target", TARGET, "--out", str(tmp_path / "out" / str(rows))]
        setup = ""
        if task == "fit":
            options += ["--max-steps", "20"]
            setup = "from ranksim.training import adapters; adapters.MAX_ENCODED = 0"
        peaks.append(measure(path, task, tuple(options), setup=setup)["bytes"])
    assert (peaks[1] - peaks[0]) / (sizes[1] - sizes[0]) < MAX_MEMORY
