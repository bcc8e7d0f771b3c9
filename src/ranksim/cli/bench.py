"""``ranksim bench``: a command for each benchmark."""

from __future__ import annotations

from pathlib import Path

import typer

from ranksim.cli.options import (
    Ages,
    Compared,
    Group,
    Machine,
    Network,
    Out,
    Own,
    Pictures,
    Sentiment,
    StsB,
    Trained,
    request,
    taking,
)

bench_app = typer.Typer(
    help="Train methods on a benchmark and set the result beside the published table.",
    no_args_is_help=True,
)


@bench_app.command("sts-b-dir")
@taking(Compared, StsB, Trained, Machine)
def bench_sts_b_dir(
    what: Compared,
    own: StsB,
    trained: Trained,
    machine: Machine,
    *,
    out: Out = Path("runs/sts-b-dir"),
) -> None:
    """Sentence pairs with a similarity of 0..5 (5,249 / 1,000 / 1,000 pairs)."""
    _bench("sts-b-dir", out, what, own, trained, machine)


@bench_app.command("sentiment-dir")
@taking(Compared, Sentiment, Trained, Machine)
def bench_sentiment_dir(
    what: Compared,
    own: Sentiment,
    trained: Trained,
    machine: Machine,
    *,
    out: Out = Path("runs/sentiment-dir"),
) -> None:
    """Sentences with human-rated sentiment in −4..4; strong feelings are rare."""
    _bench("sentiment-dir", out, what, own, trained, machine)


@bench_app.command("agedb-dir")
@taking(Compared, Ages, Pictures, Network, Trained, Machine)
def bench_agedb_dir(
    what: Compared,
    own: Ages,
    pictures: Pictures,
    network: Network,
    trained: Trained,
    machine: Machine,
    *,
    out: Out = Path("runs/agedb-dir"),
) -> None:
    """Faces with an age (12,208 / 2,140 / 2,140 images); first: ranksim data prepare agedb-dir."""
    _bench("agedb-dir", out, what, own, pictures, network, trained, machine)


@bench_app.command("imdb-wiki-dir")
@taking(Compared, Ages, Pictures, Network, Trained, Machine)
def bench_imdb_wiki_dir(
    what: Compared,
    own: Ages,
    pictures: Pictures,
    network: Network,
    trained: Trained,
    machine: Machine,
    *,
    out: Out = Path("runs/imdb-wiki-dir"),
) -> None:
    """Faces with an age (191,509 / 11,022 / 11,022); first: ranksim data prepare imdb-wiki-dir."""
    _bench("imdb-wiki-dir", out, what, own, pictures, network, trained, machine)


@bench_app.command("images")
@taking(Compared, Own, Pictures, Network, Trained, Machine)
def bench_images(
    what: Compared,
    own: Own,
    pictures: Pictures,
    network: Network,
    trained: Trained,
    machine: Machine,
    *,
    out: Out = Path("runs/images"),
) -> None:
    """Your own images, each with a number, in a table."""
    _bench("images", out, what, own, pictures, network, trained, machine)


def _bench(benchmark: str, out: Path, what: Compared, *groups: Group) -> None:
    from ranksim.bench.command import bench

    bench(request(benchmark, out, what.methods, what.seeds, *groups))
