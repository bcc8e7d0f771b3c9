"""Run records of the current format, made without training."""


def run_record(method, seed, *, status="done", recipe=None, **result):
    """Return a record whose result holds the given fields."""
    parts = method.split("+")
    technique = {part: part in parts for part in ("lds", "fds", "ranksim")}
    return {
        "identity": {"method": method, "technique": technique, "seed": seed, "recipe": recipe or {}},
        "status": status,
        "result": result,
        "provenance": {
            "versions": {"ranksim": "0.1.0"}, "commit": "abc", "machine": {"system": "Linux"},
        },
    }  # fmt: skip
