"""Options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Split = Annotated[
    Literal["borealis", "yang"],
    typer.Option(help="Which of the two published splits: RankSim's, or the first one."),
]
Preset = Annotated[
    Literal["small", "paper"],
    typer.Option(help="small: a CPU in minutes; paper: as published, a GPU's work."),
]
Domains = Annotated[str, typer.Option(help="Any of tweets,amazon,movies,nyt, parted by commas.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder that holds the data. Default: RANKSIM_DATA, then a verified download."
    ),
]
Methods = Annotated[
    str, typer.Option(help="Names parted by commas (ranksim methods lists them), or all.")
]
Seeds = Annotated[str, typer.Option(help="A number K (seeds 0 to K − 1), or seeds: 3,5,8.")]
Jobs = Annotated[int, typer.Option(min=1, help="Runs side by side, one thread each.")]
Out = Annotated[Path, typer.Option(help="Folder for results; what is finished there is kept.")]
Shots = Annotated[
    Literal["published", "rule"],
    typer.Option(help="Regions by the published list, or by counts (100 and 20)."),
]
Change = Annotated[
    list[str] | None, typer.Option("--set", help="Override a recipe field: --set lr=5e-4.")
]
RecipeFile = Annotated[
    Path | None, typer.Option("--recipe", help="Recipes by method, as ranksim tune writes them.")
]
MaxSteps = Annotated[int | None, typer.Option(min=1, help="End each training after these steps.")]
MaxEpochs = Annotated[
    int | None, typer.Option(min=1, help="End each training after these validations.")
]
Accelerator = Annotated[str, typer.Option(help="For Lightning: auto, cpu, gpu, mps …")]
Devices = Annotated[str, typer.Option(help="For Lightning: how many devices, or which.")]
Precision = Annotated[
    str, typer.Option(help="For Lightning: 32-true, bf16-mixed, 16-mixed, 64-true …")
]
Glove = Annotated[
    Path | None, typer.Option(help="GloVe 840B.300d text file, for the preset paper.")
]
TunedMethod = Annotated[str, typer.Option(help="One name; ranksim methods lists them.")]
Trials = Annotated[int, typer.Option(min=1, help="Settings to try, earlier commands' included.")]
Fields = Annotated[
    str,
    typer.Option(help="Recipe fields to search, parted by commas. Default: all the method uses."),
]


def parted(text: str) -> tuple[str, ...]:
    """Words parted by commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())
