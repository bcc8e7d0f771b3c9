"""Trace each number in the sentences of a report page to a number of its results."""

import math
import re

import numpy as np

from tests.helpers.page_truth import head, rows
from tests.helpers.verdict_truth import check_numbers, to_plain

NUMBER = r"[−-]?[\d,]+(?:\.\d+)?(?:e[+−-]\d+)?"
_STATIC = (  # numbers that do not depend on the data
    r"95 % interval", r"section \d", r"1 for the most similar", r"at most 1,", r"format \d",
)  # fmt: skip


class Tracer:
    """Compute the values that sentences of a page state from its results, and compare them."""

    def __init__(self, page, results):
        self.page, self.results = page, results
        self.error = next(m for m in results["headline"] if m in ("mse", "mae"))
        self.done = [run for run in results["runs"] if run["status"] == "done"]
        self.base = results["baseline"]
        self.count = 0

    def check(self):
        """Check all sentences; return how many numbers were traced."""
        conclusion = self.results["conclusion"]
        verdict = {conclusion["headline"], *(p["sentence"] for p in conclusion["points"])}
        verdict |= {region["sentence"] for region in conclusion["regions"].values()}
        self.count += check_numbers(self.results)
        for text in self.page.texts["p"]:
            if text not in verdict:
                self.trace(to_plain(text))
        return self.count

    def trace(self, text):
        """Compare the numbers of one paragraph, and assert that no other one is left."""
        rest = text
        for pattern, expect in self.templates().items():
            for match in re.finditer(pattern.replace("#", f"({NUMBER})"), rest):
                values = expect(*match.groups())
                given = [g for g in match.groups() if re.fullmatch(NUMBER, g or "")]
                assert len(values) == len(given), match[0]
                for number, value in zip(given, values, strict=True):
                    assert_rounds_to(number, value, match[0])
                    self.count += 1
            rest = re.sub(pattern.replace("#", NUMBER), "", rest)
        for pattern in (*_STATIC, re.escape(self.results["published_note"] or "\0")):
            rest = re.sub(pattern, "", rest, flags=re.IGNORECASE)
        names = [self.results["date"] or "", *(row["method"] for row in self.results["summary"])]
        for name in filter(None, names):
            rest = rest.replace(name, "")
        assert not re.search(r"\d", rest), (rest, text)

    def templates(self):
        """Return a function of the matched groups for each kind of sentence."""
        return self.label_sentences() | self.score_sentences() | self.other_sentences()

    def label_sentences(self):
        labels = self.results["labels"]
        train, test = np.array(labels["train"]), np.array(labels["test"])
        filled, few = train[train > 0], np.array(labels["regions"]) == "few"
        center = np.mean(labels["edges"][int(train.argmax()) :][:2])
        views = labels["views"]
        left_out = [n for n, m in zip(views["rows"], views["test"], strict=True) if not m]
        edges = np.array(labels["edges"])
        empty = [float(edge) for k, edge in enumerate(edges)
                 if (k < len(train) and train[k] == 0) or (k and train[k - 1] == 0)]  # fmt: skip
        return {
            r"There are # training labels?, densest near #: the fullest bin has # samples, the "
            r"median one # and the rarest #\.": lambda *_: [
                train.sum(), center, filled.max(), int(np.median(filled)), filled.min()
            ],
            "Few-shot bins hold # % of the training samples and # % of the test samples": (
                lambda *_: [100 * part[few].sum() / part.sum() for part in (train, test)]
            ),
            r"Labels in [\d., and-]+ were dropped": lambda *_: [],
            r"# test samples? of # lies? in bins without training samples \(([^)]*)\)": (
                lambda _, __, spans: self.check_spans(spans, empty)
                or [test[train == 0].sum(), test.sum()]
            ),
            "more than # training samples per bin; few-shot: fewer than #": (
                lambda *_: [labels["many"], labels["few"]]
            ),
            "# of # rows have labels": lambda *_: [sum(left_out), sum(views["rows"])],
        }  # fmt: skip

    def check_spans(self, text, ends):
        """Check that all numbers of a list of ranges are ends of empty bins."""
        for number in re.findall(NUMBER, re.sub(r"and \d+ more", "", text)):
            assert min(abs(to_value(number) - end) for end in ends) < 0.01 * max(map(abs, ends))

    def score_sentences(self):
        summary = {row["method"]: row for row in self.results["summary"]}

        def mean(method):
            return summary[method]["test"]["all"][self.error]["mean"]

        def losses(method):
            comparison, values = summary[method]["vs_baseline"], set()
            for part in ("test", "views"):
                for scores in comparison.get(part, {}).values():
                    if scores[self.error]["relative"] is not None:
                        values.add(f"{100 * scores[self.error]['relative']:,.1f}")
            return values

        def check_losses(method, text):
            for number in re.findall(r"([\d,.]+) %", text):
                assert number in losses(method), text
                self.count += 1
            return []

        return {
            r"mean \w+ is lowest for (\S+), #(?=[.;])": lambda method, _: [mean(method)],
            r"the baseline (\S+) has #": lambda method, _: [mean(method)],
            "seeds and # test (?:days|groups)": lambda _: [
                self.results["interval_units"]["counts"]["all"]
            ],
            r"; (\S+) ((?:perhaps )?raises it by [^.]*(?:\.\d[^.]*)*)\.": check_losses,
        }  # fmt: skip

    def other_sentences(self):
        return self.error_sentences() | self.feature_sentences() | self.cost_sentences()

    def error_sentences(self):
        table = rows(self.page, "error")
        methods = head(self.page, "error")[4:]
        of_base = [row[4 + methods.index(self.base)] for row in table]
        worst, best = table[int(np.argmax(of_base))], table[int(np.argmin(of_base))]

        def bin_count(row):
            edges = np.array(self.results["labels"]["edges"])
            inside = (edges[:-1] >= row[0] - 1e-4) & (edges[1:] <= row[1] + 1e-4)
            return int(inside.sum())

        def density(row):
            return round(row[3] / bin_count(row), 1)

        def lower(method):
            values = [row[4 + methods.index(method)] for row in table]
            return sum(a < b for a, b in zip(values, of_base, strict=True))

        def check_counts(groups, listed):
            for method, number in re.findall(r"(\S+) in (\d+)", listed):
                assert int(number) == lower(method), listed
                self.count += 1
            return [len(table)] if groups else []

        gaps = rows(self.page, "gaps") if "gaps" in self.page.tables else []
        filled = [row for row in gaps if row[2]]
        gap_methods = head(self.page, "gaps")[3:] if gaps else []

        def at(row, method):
            return row[3 + gap_methods.index(method)]

        return {
            r"largest from # to # \(\w+ #; # training samples per bin\) and smallest from # to # "
            r"\(#; # per bin\)": lambda *_: [
                *worst[:2], max(of_base), density(worst), *best[:2], min(of_base), density(best)
            ],
            r"Of # groups? of bins, the mean error is lower than that of \S+ for (.*); these": (
                lambda groups, listed: check_counts(groups, listed)
            ),
            r"# test samples? lie in bins without training samples, up to # from the nearest "
            r"training label(?: \([^)]*\))?": lambda *_: [sum(r[2] for r in gaps), gaps[-1][1]],
            r"of (\S+) is # at the smallest distance and # at the largest": (
                lambda method, *_: [at(filled[0], method), at(filled[-1], method)]
            ),
            r"At the largest distance \(# samples?\) the mean is lowest for (\S+), #": (
                lambda _, method, __: [filled[-1][2], at(filled[-1], method)]
            ),
        }  # fmt: skip

    def feature_sentences(self):
        known = {row[0]: (row[1], row[2]) for row in rows(self.page, "agreement")}
        ranks = [r["result"]["ranks"] for r in self.done if r["result"].get("ranks")]
        seeds = {
            method: [r["result"]["ranks"]["agreement"] for r in self.done
                     if r["identity"]["method"] == method]
            for method in known
        }  # fmt: skip
        higher = sum(value > known[self.base][0] for value, _ in known.values())
        points = [r["result"]["projection"] for r in self.done if r["result"].get("projection")]
        by_method = {
            r["identity"]["method"]: r["result"]["projection"]
            for r in self.done
            if r["result"].get("projection")
        }
        labels = np.array(points[0]["labels"])

        def distance(method):
            places = np.array(by_method[method]["tsne"])
            apart = np.linalg.norm(places[:, None] - places, axis=2)
            np.fill_diagonal(apart, np.inf)
            nearest = np.argsort(apart, axis=1)[:, : min(10, len(labels) - 1)]
            return np.abs(labels[nearest] - labels[:, None]).mean()

        def check_list(compute):
            def check(text, *others):
                for number, method in re.findall(rf"({NUMBER}) for (\S+?)(?:,| and|$)", text):
                    assert_rounds_to(number, compute(method), text, 0.02)
                    self.count += 1
                return [np.abs(labels[:, None] - labels).mean()] if others else []

            return check

        def correlation(method):
            first = np.array(by_method[method]["pca"])[:, 0]
            return abs(np.corrcoef(first, labels)[0, 1])

        return {
            r"agreement of (\S+) with the order of labels is # \(# to # over seeds\)": (
                lambda m, *_: [known[m][0], min(seeds[m]), max(seeds[m])]
            ),
            r"The highest is that of (\S+), #; # of # other methods?": (
                lambda m, *_: [known[m][0], higher, len(known) - 1]
            ),
            "the # bins are ranked": lambda *_: [len(ranks[0]["centres"])],
            "# by chance, because": lambda *_: [3 / (len(ranks[0]["centres"]) + 1)],
            r"component with the label is (.*?)\. ": check_list(correlation),
            r"of a sample and its \d+ nearest neighbors differ by (.*) on average, and by # by "
            "chance": check_list(distance),
            r"# test samples?, the same for all methods": lambda *_: [len(labels)],
            r"\(seed #\)": lambda *_: [min(r["identity"]["seed"] for r in self.done)],
        }  # fmt: skip

    def cost_sentences(self):
        seconds = [run["result"]["seconds"] for run in self.done]
        memory = max(run["result"]["peak_memory_mb"] for run in self.done)

        def mean(method):
            return float(np.mean([
                run["result"]["seconds"] for run in self.done
                if run["identity"]["method"] == method
            ]))  # fmt: skip

        return {
            "# runs? took # min # s of training": lambda *_: [
                len(seconds), math.floor(round(sum(seconds)) / 60), round(sum(seconds)) % 60
            ],
            r"On average one run took # s for (\S+) and # s for (\S+)\.": (
                lambda _, fast, __, slow: [mean(fast), mean(slow)]
            ),
            "highest memory peak was # MB": lambda *_: [round(memory)],
        }  # fmt: skip


def to_value(number):
    return float(number.replace(",", "").replace("−", "-"))


def assert_rounds_to(number, value, text, tolerance=0.0):
    """Assert that a number in a sentence is a value rounded to the digits that it has."""
    __tracebackhide__ = True
    digits = len(number.partition(".")[2])
    half = 0.5001 * 10.0**-digits + 1e-4 * abs(value)
    if "." not in number and abs(value) >= 1000 and value != round(value):
        half = 0.5
    assert abs(to_value(number) - value) <= half + tolerance, (number, value, text)
