"""Run records of the current format, made without training."""

REGIONS = ("all", "many", "medium", "few", "zero")
METRICS = ("mae", "mse", "gm", "pearson", "spearman")


def run_record(method, seed, *, status="done", recipe=None, **result):
    """Return a record whose result holds the given fields."""
    parts = method.split("+")
    technique = {part: part in parts for part in ("lds", "fds", "ranksim")}
    return {
        "identity": {
            "method": method, "technique": technique, "seed": seed, "recipe": recipe or {},
        },
        "status": status,
        "result": result,
        "provenance": {
            "versions": {"ranksim": "0.1.0"}, "commit": "abc", "machine": {"system": "Linux"},
        },
    }  # fmt: skip


def make_record(method, seed, mse, few_samples=5):
    """Return a finished run with the same score in every region, but thrice in few."""

    def scores(n, value):
        return {"n": n} | dict.fromkeys(METRICS, value if n else None)

    regions = {region: scores(20, mse) for region in REGIONS}
    regions |= {"few": scores(few_samples, 3 * mse), "zero": scores(0, mse)}
    metrics = {"test": regions, "val": regions}
    return run_record(method, seed, seconds=60.0, epochs=9, metrics=metrics)


def failed_record(method, seed, step=120, **divergence):
    """Return a run that diverged."""
    divergence = {"step": step, "lr": 0.1, **divergence}
    error = f"Diverged on [b] of {seed}."
    return run_record(method, seed, status="failed", error=error, diverged=divergence)
