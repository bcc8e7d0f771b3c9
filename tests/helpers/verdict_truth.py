"""Check the sentences of a conclusion against the numbers of its results."""

import re

PHRASES = {
    ("test", "many"): "for common labels (many)",
    ("test", "medium"): "for less common labels (medium)",
    ("test", "few"): "for rare labels (few)",
    ("test", "zero"): "for labels without training samples (zero)",
    ("views", "balanced"): "with balanced labels",
    ("views", "as_is"): "with labels as in your data",
    ("views", "inverse"): "with rare labels first",
}
_PERCENT = re.compile(r"([+−]?)([\d,]+\.\d|\d{1,3}(?:,\d{3})+) %")
_WORDS = (  # numbers that are no results
    r"95 % interval", r"and \d+ more", r"at least 3, or better 5", r"\(seed \d+\)",
)  # fmt: skip


def _to_percent(fraction):
    size = abs(fraction)
    return f"{100 * size:,.1f}" if size < 10 else f"{100 * size:,.0f}"


def to_plain(text):
    return text.replace("\u202f", " ")


def list_sentences(conclusion):
    """Return the sentences of a conclusion, and for each region its text."""
    whole = [conclusion.get("headline", conclusion["sentence"])]
    whole += [point["sentence"] for point in conclusion.get("points", ())]
    texts = [to_plain(text) for text in whole]
    # a sentence ends before the next method, not at the point of a number
    parts = [part for text in texts for part in re.split(r"(?<=\.) (?=\S)", text)]
    return parts, {name: to_plain(r["sentence"]) for name, r in conclusion["regions"].items()}


def find_comparison(results, reference, method):
    """Return the comparison of two rows by their names."""
    row = next(row for row in results["summary"] if row["method"] == method)
    if row.get("vs_baseline", {}).get("method") == reference:
        return row["vs_baseline"]
    return next(
        each
        for each in results.get("comparisons", ())
        if (each["reference"], each["method"]) == (reference, method)
    )


def list_scopes(results):
    """Return the regions and views that sentences may speak of, as pairs of part and name."""
    tests = results["summary"][0]["test"]
    scopes = [("test", name) for name in tests if name != "seen"]
    views = (results.get("labels") or {}).get("views")
    if views and any(row.get("views") for row in results["summary"]):
        main = {"balanced": "balanced", "random": "as_is"}.get(views["test_set"])
        scopes += [("views", name) for name in ("balanced", "as_is", "inverse") if name != main]
    return scopes


def list_changes(results, comparison, error):
    """Return the relative change, and -1, 0 or 1 for a sure one, by scope."""
    changes = {}
    for part, name in list_scopes(results):
        effect = comparison.get(part, {}).get(name, {}).get(error)
        if not effect or effect["mean"] is None or effect["relative"] is None:
            continue
        interval = effect.get("ci_adjusted")
        is_sure = interval is not None and interval[0] * interval[1] > 0
        sign = (1 if effect["mean"] > 0 else -1) if is_sure else 0
        changes[part, name] = effect["relative"], sign
    return changes


def phrase(part, name):
    your = "" if name == "all" else "your region "
    return PHRASES.get((part, name), f"in {your}{name}")


def check_losses_beside_gains(results):
    """Check that each text with a gain states all losses of the method; return their number."""
    conclusion, baseline = results["conclusion"], results["baseline"]
    error, names = conclusion["error"], [row["method"] for row in results["summary"]]
    sentences, regions = list_sentences(conclusion)
    reference, count = baseline, 0
    texts = [*sentences, *regions.values()]
    for text in texts:
        if match := re.match(r"Compared with (\S+), ", text):
            reference = match[1]
        stated = re.match(
            r"(?:Compared with \S+, )?(\S+) (?:lowers|has \S+ % less|has the lowest \w+, \d)", text
        )
        if not stated:
            continue
        assert stated[1] in names, text
        base = reference if text in sentences else baseline
        changes = list_changes(results, find_comparison(results, base, stated[1]), error)
        for scope, (change, sign) in changes.items():
            if sign > 0 or change >= 5e-4:
                expected = f"{abs(100 * change):,.1f} % {phrase(*scope)}"
                assert expected in text, (expected, text)
                before = text[: text.index(expected)]
                is_unsure = "perhaps" in before
                assert is_unsure == (sign == 0), (expected, text)
                count += 1
        if not text.startswith("Compared with"):
            continue
        reference = base
    return count


def check_numbers(results):
    """Check that every number in a conclusion is a number of a method that the text names."""
    conclusion, count = results["conclusion"], 0
    error = conclusion["error"]
    sentences, regions = list_sentences(conclusion)
    for text in (*sentences, *regions.values()):
        names = sorted((row["method"] for row in results["summary"]), key=len, reverse=True)
        rows = [row for row in results["summary"] if _is_named(row["method"], text)]
        effects = [
            effect
            for row in rows
            for other in [None, *names]
            for effect in _effects_of(results, row["method"], other, error)
        ]
        allowed = {_to_percent(e["relative"]) for e in effects if e["relative"] is not None}
        for e in effects:
            if e["relative"] and e.get("ci_total"):
                base = e["mean"] / e["relative"]
                allowed |= {_to_percent(end / base) for end in e["ci_total"]}
        for pattern in _WORDS:
            text = re.sub(pattern, "", text)
        for _, number in _PERCENT.findall(text):
            assert number in allowed, (number, text)
            count += 1
        text = _PERCENT.sub("", text)
        seeds = {str(e.get("seeds_needed")) for e in effects}
        for number in re.findall(r"about (\d+) seeds", text):
            assert number in seeds, text
            count += 1
        text = re.sub(r"about \d+ seeds", "", text)
        for method, failed, total in re.findall(r"(\S+) (\d+) of (\d+)", text):
            row = next(row for row in rows if row["method"] == method)
            assert (int(failed), int(total)) == (row["failed"], row["failed"] + len(row["seeds"]))
        text = re.sub(r"\d+ of \d+", "", text)
        for count_of_seeds, method in re.findall(r"the (\d+) runs of (\S+)", text):
            row = next(row for row in rows if row["method"] == method)
            assert len(row["seeds"]) == int(count_of_seeds)
        text = re.sub(r"the \d+ runs", "", text)
        for name in names:
            text = text.replace(name, "")
        assert not re.search(r"\d", text), text
    return count


def _is_named(method, text):
    return re.search(rf"(?<![\w+]){re.escape(method)}(?![\w+(])", text) is not None


def _effects_of(results, method, other, error):
    """Return the differences of a row from the baseline, or from another row if compared."""
    row = next(row for row in results["summary"] if row["method"] == method)
    if other is None:
        comparisons = [row[k] for k in ("vs_baseline", "ensemble_change") if row.get(k)]
    else:
        comparisons = [
            each
            for each in results.get("comparisons", ())
            if (each["reference"], each["method"]) == (other, method)
        ]
    return [
        effect
        for comparison in comparisons
        for part in ("test", "views")
        for scores in comparison.get(part, {}).values()
        if (effect := scores.get(error)) and effect["mean"] is not None
    ]
