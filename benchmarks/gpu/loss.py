"""Parts 2 to 4: graph capture, ``torch.compile``, and the time of the loss by batch size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.figures import Figure, Settings
from benchmarks.timing import Step, time_in_turns
from ranksim import RankSimLoss
from ranksim.functional import ranksim_loss
from tests.oracles.loop import ranksim_loop

WIDTH = 512
WARMUP_STEPS = 3  # before a capture, to compile kernels and allocate workspaces
GRAPH_SIZES, GRAPH_MICROSECONDS, GRAPH_GOAL_SIZE = (64, 128, 256, 1024), 60.0, 256
LOSS_SIZES = (64, 256, 1024, 2048, 4096, 8192, 16384)
LOOP_SPEEDUP, LOOP_GOAL_SIZE = 100.0, 256
FLOOR_RATIO, FLOOR_GOAL_SIZE = 2.0, 1024
LOOP_SECONDS = 4.0  # longest pass of the loop to wait for
TOLERANCE = 1e-5  # of a captured or compiled pass relative to a plain one, in float32


def make_batch(settings: Settings, size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return random features and ages."""
    draw = torch.Generator().manual_seed(1000 * seed + size)
    features = torch.randn(size, 16 if settings.smoke else WIDTH, generator=draw)
    labels = torch.randint(0, 101, (size,), generator=draw)
    return features.to(settings.device).requires_grad_(), labels.to(settings.device)


def make_step(loss: Callable[..., Tensor], features: Tensor, labels: Tensor) -> Callable[[], Any]:
    """Return a function that runs one forward and backward pass; it returns both results."""

    def run() -> tuple[Tensor, Tensor]:
        value = loss(features, labels)
        return value.detach(), torch.autograd.grad(value, features)[0]

    return run


def plain_loss(features: Tensor, labels: Tensor) -> Tensor:
    """Compute the loss of all samples."""
    return ranksim_loss(features, labels, unique_labels=False)


def relative_difference(result: Any, expected: Any) -> float:
    """Return the larger relative difference of value and gradient."""
    pairs = zip(result, expected, strict=True)
    return max(float((a - b).norm() / b.norm().clamp(min=1e-12)) for a, b in pairs)


def capture(step: Callable[[], Any], settings: Settings) -> Callable[[], Any]:
    """Return a function that replays a captured step; without a GPU, the step itself."""
    if settings.device == "cpu":
        return step
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARMUP_STEPS):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = step()

    def replay() -> Any:
        graph.replay()
        return result

    return replay


def time_replays(replay: Step, settings: Settings, replays: int = 100, rounds: int = 5) -> float:
    """Return the shortest mean time of a replay, in microseconds."""
    if settings.device == "cpu":
        return 1e6 * time_in_turns({"step": replay}, 0.0, rounds=1)["step"]
    times = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(replays):
            replay()
        end.record()
        end.synchronize()
        times.append(1e3 * float(start.elapsed_time(end)) / replays)
    return min(times)


def measure_graph(settings: Settings) -> Iterator[Figure]:
    """Yield time and exactness of captured passes, which are replayed on other samples."""
    for size in (8,) if settings.smoke else GRAPH_SIZES:
        features, labels = make_batch(settings, size)
        replay = capture(make_step(plain_loss, features, labels), settings)
        other = make_batch(settings, size, seed=1)
        expected = make_step(plain_loss, *other)()
        with torch.no_grad():
            features.copy_(other[0])
            labels.copy_(other[1])
        row, result = f"M = {size}, D = {features.shape[1]}", replay()
        error = relative_difference(result, expected)
        yield Figure(row, "difference from a plain pass", error, at_most=TOLERANCE)
        goal = GRAPH_MICROSECONDS if size <= GRAPH_GOAL_SIZE else None
        yield Figure(row, "captured", time_replays(replay, settings), "µs", at_most=goal)
    yield from measure_captured_draws(settings)


def measure_captured_draws(settings: Settings) -> Iterator[Figure]:
    """Yield how many different values replays with unique labels and a memory have."""
    for name, memory in (("unique labels", 0), ("unique labels, memory of 64", 64)):
        criterion = RankSimLoss(memory_size=memory)
        features, labels = make_batch(settings, 64)
        labels = (labels // 10) * 10
        for _ in range(2):  # fills the memory, whose shapes are constant from then on
            criterion(features, labels)
        replay = capture(make_step(criterion, features, labels), settings)
        values = [float(replay()[0]) for _ in range(8)]
        yield Figure(name, "different values of 8 replays", len(set(values)), at_least=2)


def measure_compile(settings: Settings) -> Iterator[Figure]:
    """Yield exactness and time of the loss, alone and with a network, as one compiled graph."""
    size, seconds = (8, 0.0) if settings.smoke else (256, 0.3)
    features, labels = make_batch(settings, size)
    labels = torch.randperm(size, device=settings.device)  # all different: nothing is random
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(features.shape[1], 64), nn.ReLU()).to(settings.device)
    criterion = RankSimLoss()
    losses: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "loss": plain_loss,
        "loss, unique labels": criterion,
        "network and loss": lambda inputs, target: criterion(network(inputs), target),
    }
    backend = "aot_eager" if settings.smoke else "inductor"
    for name, loss in losses.items():
        torch._dynamo.reset()
        compiled = torch.compile(loss, fullgraph=True, backend=backend)  # raises at a graph break
        steps = {"plain": make_step(loss, features, labels)}
        steps["compiled"] = make_step(compiled, features, labels)
        error = relative_difference(steps["compiled"](), steps["plain"]())
        yield Figure(name, "difference from a plain pass", error, at_most=TOLERANCE)
        for column, time in time_in_turns(
            steps, seconds, rounds=1 if settings.smoke else 5
        ).items():
            yield Figure(name, column, 1e3 * time, "ms")


def measure_loss(settings: Settings) -> Iterator[Figure]:
    """Yield times of a pass beside the loop over anchors, and beside two products and a sort."""
    seconds, longest = (0.0, LOOP_SECONDS) if settings.smoke else (0.25, LOOP_SECONDS)
    loop_time = 0.0
    sizes = (8, 16) if settings.smoke else LOSS_SIZES
    for before, size in zip((0, *sizes), sizes, strict=False):
        features, labels = make_batch(settings, size)
        z, weights = features.detach(), torch.randn(size, size, device=settings.device)

        def run_floor(z: Tensor = z, weights: Tensor = weights) -> None:
            (z @ z.T).sort(dim=1)
            torch.mm(weights, z)

        steps: dict[str, Step] = {"products and a sort": run_floor}
        steps["ranksim"] = make_step(plain_loss, features, labels)
        times = time_in_turns(steps, seconds, rounds=1 if settings.smoke else 5)
        # the loop launches as many kernels as there are anchors, each on M numbers
        if not before or loop_time * (size / before) ** 2 <= longest:
            loop = make_step(lambda z, y: ranksim_loop(z, y, 100.0, 2.0), features, labels)
            loop_time = times["loop"] = time_in_turns({"loop": loop}, 0.0, rounds=1)["loop"]
        row = f"M = {size}, D = {features.shape[1]}"
        for name, time in times.items():
            yield Figure(row, name, 1e3 * time, "ms")
        if "loop" in times:
            goal = LOOP_SPEEDUP if size <= LOOP_GOAL_SIZE else None
            speedup = times["loop"] / times["ranksim"]
            yield Figure(row, "× as fast as the loop", speedup, at_least=goal)
        goal = FLOOR_RATIO if size > FLOOR_GOAL_SIZE else None
        ratio = times["ranksim"] / times["products and a sort"]
        yield Figure(row, "× products and a sort", ratio, at_most=goal)
