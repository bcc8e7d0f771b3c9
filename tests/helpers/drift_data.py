"""Tables of homes, drawn anew with other sizes or prices, and a model of them."""

import numpy as np
import pandas as pd

import ranksim
from ranksim.inference import load_model

ROWS = 900


def draw_homes(seed, rows=ROWS, *, growth=0.0, price=1.0, kind=None):
    """Draw a table whose sizes grow, or whose prices do for the same size."""
    rng = np.random.default_rng(seed)
    size = (rng.gamma(2.0, 30.0, rows) * (1 + growth) + 20).round(1)
    kinds = rng.choice(["flat", "house"], rows)
    labels = (price * size * (1 + (kinds == "house")) / 5 * rng.lognormal(0, 0.1, rows)).round()
    size[::40] = np.nan
    if kind is not None:
        kinds[: rows // 5] = kind
    built = pd.Timestamp("2001-01-01") + pd.to_timedelta(rng.integers(0, 5_000, rows), "D")
    dates = built.strftime("%Y-%m-%d")
    return pd.DataFrame({"size": size, "kind": kinds, "built": dates, "price": labels})


def fit_linear(data, out, **options):
    """Fit a linear model, which takes a moment, and return it as it is loaded."""
    ranksim.fit(data, target="price", method="linear", out=out, progress=False, **options)
    return load_model(out)
