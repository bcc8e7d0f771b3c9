"""``ranksim compare``, ``fit`` and ``predict``: methods and models on anyone's data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ranksim.cli.options import (
    AsJson,
    BudgetOptions,
    CompareOptions,
    Data,
    Group,
    HardwareOptions,
    LabelGapOptions,
    Out,
    RunOptions,
    SweepOptions,
    UserInputOptions,
    UserSplitOptions,
    print_json,
    request,
    with_options,
)


@with_options(
    CompareOptions,
    UserInputOptions,
    UserSplitOptions,
    LabelGapOptions,
    BudgetOptions,
    SweepOptions,
    HardwareOptions,
)
def compare(
    what: CompareOptions,
    *groups: Group,
    data: Data,
    out: Out = Path("runs/compare"),
    as_json: AsJson = False,
) -> None:
    """Train every method on the same splits and seeds of your data, and say which one helps."""
    from ranksim.experiments.sweep_request import run_benchmark, summary_json
    from ranksim.experiments.user_data import own_request

    asked = own_request(data, request("own", out, what.methods, what.seeds, *groups))
    print_json(summary_json(run_benchmark(asked, as_json=as_json), out), as_json)


@dataclass
class Fitted:
    """What ``ranksim fit`` trains."""

    method: Annotated[str, typer.Option(help="One name; ranksim methods lists them.")] = (
        "vanilla+ranksim"
    )
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Fixes all that is drawn.")] = 0


@with_options(
    Fitted, UserInputOptions, UserSplitOptions, LabelGapOptions, RunOptions, HardwareOptions
)
def fit(
    what: Fitted,
    *groups: Group,
    data: Data,
    out: Annotated[
        Path, typer.Option(help="Folder for the model; an earlier model there is replaced.")
    ] = Path("runs/model"),
    as_json: AsJson = False,
) -> None:
    """Train one model on your data and save it, with all that predictions need."""
    from ranksim.experiments.user_data import own_request
    from ranksim.inference.fit import FitRequest, fit_model

    asked = own_request(data, request("own", out, what.method, f"{what.seed},", *groups))
    print_json(fit_model(FitRequest(asked, what.method, what.seed), as_json=as_json), as_json)


def predict(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="Folder that ranksim fit wrote.", show_default=False),
    ],
    data: Data,
    out: Annotated[Path, typer.Option(help="Table for the predictions, .csv or .parquet.")] = Path(
        "runs/predictions.csv"
    ),
    image_root: Annotated[
        Path | None, typer.Option(help="Folder of the images, where DATA is a table elsewhere.")
    ] = None,
    encoder: Annotated[
        Path | None,
        typer.Option(help="Folder of the pretrained encoder, where it was fitted with a folder."),
    ] = None,
    accelerator: Annotated[str, typer.Option(help="For Lightning: auto, cpu, gpu, mps …")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Predict new data with a saved model, and say where training had seen little."""
    from ranksim.inference.predict import PredictRequest, predict_data

    asked = PredictRequest(model, data, out, image_root, accelerator, encoder)
    print_json(predict_data(asked, as_json=as_json), as_json)
