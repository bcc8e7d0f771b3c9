"""``ranksim tune``: a command for each benchmark."""

from __future__ import annotations

from pathlib import Path

import typer

from ranksim.cli.options import (
    Ages,
    Group,
    Machine,
    Network,
    Out,
    Own,
    Pictures,
    Searched,
    Sentiment,
    StsB,
    Trained,
    parted,
    request,
    taking,
)

tune_app = typer.Typer(
    help="Search a recipe for one method by validation score (extra: tune).",
    no_args_is_help=True,
)


@tune_app.command("sts-b-dir")
@taking(Searched, StsB, Trained, Machine)
def tune_sts_b_dir(
    what: Searched,
    own: StsB,
    trained: Trained,
    machine: Machine,
    *,
    out: Out = Path("runs/tune/sts-b-dir"),
) -> None:
    """Tune a method on sentence pairs with a similarity of 0..5."""
    _tune("sts-b-dir", out, what, own, trained, machine)


@tune_app.command("sentiment-dir")
@taking(Searched, Sentiment, Trained, Machine)
def tune_sentiment_dir(
    what: Searched,
    own: Sentiment,
    trained: Trained,
    machine: Machine,
    *,
    out: Out = Path("runs/tune/sentiment-dir"),
) -> None:
    """Tune a method on sentences with human-rated sentiment."""
    _tune("sentiment-dir", out, what, own, trained, machine)


@tune_app.command("agedb-dir")
@taking(Searched, Ages, Pictures, Network, Trained, Machine)
def tune_agedb_dir(
    what: Searched,
    own: Ages,
    pictures: Pictures,
    network: Network,
    trained: Trained,
    machine: Machine,
    *,
    out: Out = Path("runs/tune/agedb-dir"),
) -> None:
    """Tune a method on the faces of AgeDB."""
    _tune("agedb-dir", out, what, own, pictures, network, trained, machine)


@tune_app.command("imdb-wiki-dir")
@taking(Searched, Ages, Pictures, Network, Trained, Machine)
def tune_imdb_wiki_dir(
    what: Searched,
    own: Ages,
    pictures: Pictures,
    network: Network,
    trained: Trained,
    machine: Machine,
    *,
    out: Out = Path("runs/tune/imdb-wiki-dir"),
) -> None:
    """Tune a method on the faces of IMDB-WIKI."""
    _tune("imdb-wiki-dir", out, what, own, pictures, network, trained, machine)


@tune_app.command("images")
@taking(Searched, Own, Pictures, Network, Trained, Machine)
def tune_images(
    what: Searched,
    own: Own,
    pictures: Pictures,
    network: Network,
    trained: Trained,
    machine: Machine,
    *,
    out: Out = Path("runs/tune/images"),
) -> None:
    """Tune a method on your own images."""
    _tune("images", out, what, own, pictures, network, trained, machine)


def _tune(benchmark: str, out: Path, what: Searched, *groups: Group) -> None:
    from ranksim.bench.tune import TuneRequest, tune

    bench = request(benchmark, out, what.method, what.seeds, *groups)
    tune(TuneRequest(bench, what.trials, parted(what.fields)))
