"""A table with few high prices, as a file and as a data frame."""

import matplotlib as mpl
import pandas as pd
import pytest

from tests.helpers import user_data

mpl.use("agg")


@pytest.fixture(scope="session")
def homes_file(tmp_path_factory):
    """Path of a CSV file with numbers, categories, dates and missing values."""
    return user_data.write_table(tmp_path_factory.mktemp("homes"))


@pytest.fixture
def homes(homes_file):
    """The same table as a data frame."""
    return pd.read_csv(homes_file)


@pytest.fixture(autouse=True)
def close_figures():
    """Close the figures that a test opens."""
    from matplotlib import pyplot

    yield
    pyplot.close("all")
