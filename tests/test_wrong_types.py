"""Each public function and constructor says in one sentence what an argument of a wrong type is."""

import inspect
import re
import traceback
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch

import ranksim
from ranksim import functional, imbalance, losses, metrics, sklearn
from ranksim.imbalance import FDS, LDS, DensityWeights, LabelBins
from ranksim.imbalance.bins import LabelRange
from ranksim.integrations import lightning
from ranksim.losses import RankSimLoss
from ranksim.metrics import RegionMetrics, ShotRegions

SOURCE = Path(ranksim.__file__).parent
BINS = LabelBins.uniform(0.0, 4.0, 4)
LABELS = [0.5, 1.5, 2.5, 3.5]
Z, Y = torch.rand(4, 3), torch.tensor(LABELS)
DENSE = torch.rand(2, 3, 5), torch.rand(2, 1, 5)
REGIONS = ShotRegions.from_counts(BINS, LABELS)
DAY = date(2024, 3, 1)

# wrong values by what a parameter takes
NUMBER = ("0.5", [0.5], torch.rand(2), DAY, np.array(["a"]))
OPTIONAL_NUMBER = NUMBER
WHOLE = (2.5, "3", [3], DAY, None)
FLAG = ("yes", 2, None, [True])
CHOICE = ("other", 3, None, ["min"], np.zeros(2))
TENSOR = ([0.5], "a", 3, None, np.zeros(4), [torch.zeros(3)] * 4, DAY)
REF = [value for value in TENSOR if value is not None]
META = torch.zeros(4, 3, device="meta")
TEXTS = (["a", "b"], "a", np.array(["2020-01-01"], dtype="datetime64[D]"), [DAY], None)
LABEL_VECTOR = (*TEXTS, [[1.0, 2.0]], 3.0, [torch.zeros(2), torch.zeros(3)], 1j)
ANY_LABELS = (*TEXTS, [torch.zeros(2), torch.zeros(3)])
LABEL_BINS = (100, [0, 1, 2], "auto", np.arange(3.0), None)
OBJECT = (3, "gaussian", [1])
FUNCTION = (3, "label", None)
NAME = (3, None, ["encoder"])
GENERATOR = (0, np.random.default_rng(0), "cpu")


def case(function, **params):
    """A function with its parameters, each with a valid value and wrong ones."""
    return function, params


REGRESSION = {
    "preds": (Y, TENSOR), "target": (Y, TENSOR),
    "sample_weight": (None, REF),
    "reduction": ("mean", CHOICE),
}  # fmt: skip
BATCH = {name: value for name, value in REGRESSION.items() if name != "reduction"}
GAR = {
    "base": ("l1", CHOICE), "join": ("sum", CHOICE), "alpha": (0.1, NUMBER),
    "label_std": (1.0, NUMBER),
}  # fmt: skip
PAIR = {"preds": (LABELS, LABEL_VECTOR), "target": (LABELS, LABEL_VECTOR)}
INTERVALS = dict.fromkeys(("lower", "upper", "labels"), (LABELS, LABEL_VECTOR))
OUTPUTS = {
    "outputs": (torch.rand(4, 2), TENSOR), "target": (Y, TENSOR), "sample_weight": (None, REF),
}  # fmt: skip
NLL = {"beta": (0.5, NUMBER), "label_std": (1.0, NUMBER)}
LEVELS = ("0.1", 0.5, None, [0.5, "a"], [DAY], torch.rand(2))
SIGMA = ("0.5", [0.5], torch.rand(2), DAY, None)
MIXTURE = dict.fromkeys(("means", "variances", "weights"), (Y, REF))
REDUCTION = {"reduction": ("mean", CHOICE)}
FOCAL = {
    "base": ("mse", CHOICE), "activation": ("tanh", CHOICE), "beta": (0.2, NUMBER),
    "gamma": (1.0, NUMBER),
}  # fmt: skip
RANKSIM = {
    "gamma": (1.0, NUMBER), "lambda_": (2.0, NUMBER), "weight": (1.0, NUMBER),
    "ties": ("min", CHOICE), "unique_labels": (True, FLAG), "label_width": (None, NUMBER),
    "reduction": ("sum", CHOICE), "label_similarity": ("neg_l1", CHOICE),
    "generator": (None, GENERATOR),
}  # fmt: skip
KERNEL = {"kernel": ("gaussian", CHOICE), "kernel_size": (5, WHOLE), "sigma": (2.0, NUMBER)}
WEIGHTS = {
    "labels": (LABELS, LABEL_VECTOR), "bins": (None, LABEL_BINS[:-1]),
    "scheme": ("inverse", CHOICE), "clip": (None, (3, "a", [1], [DAY, DAY])),
    "lds": (None, OBJECT), "bandwidth": (None, NUMBER), "alpha": (1.0, NUMBER),
}  # fmt: skip


def fds():
    return FDS(3, BINS)


def fit_regressor(**arguments):
    inputs, labels = arguments.pop("X"), arguments.pop("y")
    sklearn.RankSimRegressor(**arguments).fit(inputs, labels)


def fit_weights(bins, lds, y):
    sklearn.DensitySampleWeight(bins, lds=lds).fit(y)


def fit_resample(kind):
    def resample(**arguments):
        table, labels = arguments.pop("X"), arguments.pop("y")
        kind(**arguments).fit_resample(table, labels)

    return resample


def resampling(kind, **params):
    """A resampler with the parameters of its constructor and of its method."""
    table, labels = np.arange(9.0)[:, None], [1, 2, 3, 4, 5, 6, 7, 30, 40]
    shared = {
        "relevance": (None, (3, "box plot", [1.0])),
        "random_state": (0, ("a", 2.5, [1], True, torch.Generator())),
        "X": (table, (3, None, "a", [[1.0], [1.0, 2.0]], torch.zeros(9, 1, requires_grad=True))),
        "y": (labels, (*LABEL_VECTOR, [True, False] * 4)),
    }  # fmt: skip
    return case(fit_resample(kind), **shared, **params)


def forward(module, **params):
    return case(module.forward, **params)


FEATURES_AND_LABELS = {"features": (Z, (*TENSOR, META)), "labels": (Y, TENSOR)}
CONR = FEATURES_AND_LABELS | {
    "preds": (Y, TENSOR), "sample_weight": (None, REF), "view_2": (None, (3, "a", [Z], (Z, 3))),
}  # fmt: skip
CONR_SETTINGS = {"temperature": (1.0, NUMBER), "label_std": (1.0, NUMBER)}
TRIPLE = ("abc", 3, None, (0.1, 0.1), ("a", 1, 1))
CASES = {
    "ranksim_loss": case(
        functional.ranksim_loss, **FEATURES_AND_LABELS, **RANKSIM,
        ref_features=(None, REF), ref_labels=(None, REF),
    ),
    "draw_unique": case(
        functional.draw_unique, labels=(Y, TENSOR), label_width=(None, NUMBER),
        generator=(None, GENERATOR),
    ),
    "sample_positions": case(
        functional.sample_positions, features=(DENSE[0], TENSOR), labels=(DENSE[1], TENSOR),
        num_positions=(3, WHOLE), generator=(None, GENERATOR),
    ),
    "rank": case(
        functional.rank, values=(Y, TENSOR), ties=("min", CHOICE), normalize=(False, FLAG)
    ),
    "label_similarity": case(
        functional.label_similarity, labels=(Y[:, None], TENSOR), kind=("neg_l1", CHOICE)
    ),
    "l1_loss": case(functional.l1_loss, **REGRESSION),
    "mse_loss": case(functional.mse_loss, **REGRESSION),
    "huber_loss": case(functional.huber_loss, **REGRESSION, delta=(1.0, NUMBER)),
    "ccc_loss": case(functional.ccc_loss, **BATCH),
    "CCCLoss": case(losses.CCCLoss, weight=(1.0, NUMBER)),
    "CCCLoss.forward": forward(losses.CCCLoss(), **BATCH),
    "balanced_errors": case(metrics.balanced_errors, **PAIR, bins=(BINS, LABEL_BINS)),
    "imbalanced_scores": case(
        metrics.imbalanced_scores, **PAIR, bins=(BINS, LABEL_BINS),
        relevance=(np.zeros_like, OBJECT),
    ),
    "concordance": case(metrics.concordance, **PAIR),
    "sera": case(metrics.sera, **PAIR, relevance=(np.zeros_like, OBJECT)),
    "sera_curve": case(metrics.sera_curve, **PAIR, relevance=(np.zeros_like, OBJECT)),
    "detection_scores": case(
        metrics.detection_scores, **PAIR, rare=(LabelRange(1, 2), (*OBJECT, None)),
        top=((5,), ("5", 5, ["5"], None)),
    ),
    "pinball_loss": case(metrics.pinball_loss, **PAIR, level=(0.5, NUMBER)),
    "covers": case(metrics.covers, **INTERVALS),
    "interval_score": case(metrics.interval_score, **INTERVALS, level=(0.9, NUMBER)),
    "crps_gaussian": case(
        metrics.crps_gaussian, mean=(LABELS, LABEL_VECTOR[:-1]), target=(LABELS, LABEL_VECTOR),
        scale=(LABELS, LABEL_VECTOR[:-1]),
    ),
    "crps_laplace": case(
        metrics.crps_laplace, mean=(LABELS, LABEL_VECTOR[:-1]), target=(LABELS, LABEL_VECTOR),
        scale=(LABELS, LABEL_VECTOR[:-1]),
    ),
    "crps_samples": case(
        metrics.crps_samples, samples=([[y] for y in LABELS], ANY_LABELS),
        target=(LABELS, LABEL_VECTOR),
    ),
    "gaussian_loss": case(functional.gaussian_loss, **OUTPUTS, **NLL),
    "laplace_loss": case(functional.laplace_loss, **OUTPUTS, **NLL),
    "quantile_loss": case(functional.quantile_loss, **OUTPUTS, levels=((0.1, 0.5), LEVELS)),
    "uvote_loss": case(
        functional.uvote_loss, **OUTPUTS, weights=(Y[:, None], TENSOR), label_std=(1.0, NUMBER)
    ),
    "GaussianLoss": case(losses.GaussianLoss, **NLL),
    "LaplaceLoss": case(losses.LaplaceLoss, **NLL),
    "QuantileLoss": case(losses.QuantileLoss, levels=((0.1, 0.5), LEVELS)),
    "UVoteLoss": case(
        losses.UVoteLoss, labels=(Y, TENSOR), density=(Y, TENSOR), heads=(2, WHOLE),
        label_std=(1.0, NUMBER),
    ),
    "GaussianLoss.forward": forward(losses.GaussianLoss(), **OUTPUTS),
    "LaplaceLoss.forward": forward(losses.LaplaceLoss(), **OUTPUTS),
    "QuantileLoss.forward": forward(losses.QuantileLoss((0.1, 0.5)), **OUTPUTS),
    "UVoteLoss.forward": forward(
        losses.UVoteLoss(Y, Y), **OUTPUTS | {"outputs": (torch.rand(4, 4), TENSOR)}
    ),
    "bmc_loss": case(functional.bmc_loss, sigma=(1.0, SIGMA), **BATCH),
    "gai_loss": case(functional.gai_loss, sigma=(1.0, SIGMA), **MIXTURE, **BATCH),
    "BalancedMSELoss": case(
        losses.BalancedMSELoss, variant=("gai", CHOICE), sigma=(1.0, NUMBER),
        label_std=(1.0, NUMBER), **MIXTURE,
        num_positions=(None, WHOLE[:-1]), generator=(None, GENERATOR),
    ),
    "BalancedMSELoss.forward": forward(losses.BalancedMSELoss(), **BATCH),
    "dist_loss": case(
        functional.dist_loss, preds=(Y, TENSOR), quantiles=(Y, TENSOR), label_std=(1.0, NUMBER)
    ),
    "DistLoss": case(
        losses.DistLoss, quantiles=(Y, TENSOR), weight=(1.0, NUMBER), label_std=(1.0, NUMBER)
    ),
    "DistLoss.forward": forward(losses.DistLoss(Y), preds=(Y, TENSOR)),
    "dila_loss": case(
        functional.dila_loss, preds=(Y, TENSOR), target=(Y, TENSOR), density=(Y, TENSOR)
    ),
    "DILALoss": case(
        losses.DILALoss, labels=(Y, TENSOR), density=(Y, TENSOR), weight=(1.0, NUMBER)
    ),
    "DILALoss.forward": forward(losses.DILALoss(Y, Y), preds=(Y, TENSOR), target=(Y, TENSOR)),
    "sera_loss": case(functional.sera_loss, relevance=(Y, TENSOR), **BATCH),
    "SERALoss": case(
        losses.SERALoss, labels=(Y, TENSOR), relevance=(Y / 4, TENSOR), weight=(1.0, NUMBER)
    ),
    "SERALoss.forward": forward(losses.SERALoss(Y, Y / 4), **BATCH),
    "gar_loss": case(functional.gar_loss, **BATCH, **GAR),
    "GARLoss": case(losses.GARLoss, **GAR),
    "GARLoss.forward": forward(losses.GARLoss(), **BATCH),
    "ascent_step": case(
        functional.ascent_step, gradients=([Z], (3, None, [3.0], ["a"])), rho=(0.1, NUMBER)
    ),
    "BSAM": case(losses.BSAM, model=(torch.nn.Linear(2, 1), OBJECT), rho=(0.1, NUMBER)),
    "ordinal_entropy_loss": case(
        functional.ordinal_entropy_loss, **FEATURES_AND_LABELS, label_range=(None, NUMBER)
    ),
    "OrdinalEntropyLoss": case(
        losses.OrdinalEntropyLoss, weight=(1.0, NUMBER), label_range=(None, NUMBER)
    ),
    "OrdinalEntropyLoss.forward": forward(losses.OrdinalEntropyLoss(), **FEATURES_AND_LABELS),
    "rnc_loss": case(
        functional.rnc_loss, **FEATURES_AND_LABELS, features_2=(None, REF),
        temperature=(1.0, NUMBER),
    ),
    "RnCLoss": case(losses.RnCLoss, temperature=(1.0, NUMBER)),
    "RnCLoss.forward": forward(
        losses.RnCLoss(), **FEATURES_AND_LABELS, features_2=(None, REF)
    ),
    "conr_loss": case(functional.conr_loss, **CONR, **CONR_SETTINGS, width=(1.0, NUMBER)),
    "ConRLoss": case(
        losses.ConRLoss, **CONR_SETTINGS, width=(1.0, NUMBER), weight=(1.0, NUMBER)
    ),
    "ConRLoss.forward": forward(losses.ConRLoss(1.0), **CONR),
    "srl_loss": case(
        functional.srl_loss, features=(Z, TENSOR), index=(torch.arange(4), TENSOR),
        centroids=(Z, TENSOR), observed=(Z[:, 0] >= 0, TENSOR), positions=(Y, TENSOR),
        points=(Z, TENSOR), weights=((0.1, 0.1, 0.1), TRIPLE), temperature=(1.0, NUMBER),
    ),
    "SRLLoss": case(
        losses.SRLLoss, width=(3, WHOLE), edges=([0, 1, 2], ("ab", None, 3.0, [DAY, DAY])),
        weights=((0.1, 0.1, 0.1), TRIPLE), temperature=(1.0, NUMBER), momentum=(0.5, NUMBER),
        points=(4, WHOLE), label_std=(1.0, NUMBER), seed=(0, (*WHOLE, True)),
    ),
    "SRLLoss.forward": forward(losses.SRLLoss(3, [0, 1, 2]), **FEATURES_AND_LABELS),
    "focal_r_loss": case(functional.focal_r_loss, **REGRESSION, **FOCAL),
    "L1Loss": case(losses.L1Loss, **REDUCTION),
    "MSELoss": case(losses.MSELoss, **REDUCTION),
    "HuberLoss": case(losses.HuberLoss, delta=(1.0, NUMBER), **REDUCTION),
    "FocalRLoss": case(losses.FocalRLoss, **FOCAL, **REDUCTION),
    "RankSimLoss": case(
        RankSimLoss, **RANKSIM, gather_across_devices=(False, FLAG),
        num_positions=(None, WHOLE[:-1]), memory_size=(0, WHOLE),
    ),
    "L1Loss.forward": forward(losses.L1Loss(), **dict(list(REGRESSION.items())[:3])),
    "RankSimLoss.forward": forward(RankSimLoss(), **FEATURES_AND_LABELS),
    "LabelBins": case(LabelBins, edges=([0, 1], (3, "a", ["a", "b"], [DAY, DAY], None, [[0, 1]]))),
    "LabelBins.uniform": case(
        LabelBins.uniform, low=(0.0, (*NUMBER, None)), high=(1.0, (*NUMBER, None)), count=(3, WHOLE)
    ),
    "LabelBins.integers": case(LabelBins.integers, low=(0, WHOLE), high=(3, WHOLE)),
    "LabelBins.from_width": case(
        LabelBins.from_width, labels=(LABELS, LABEL_VECTOR), width=(1.0, (*NUMBER, None))
    ),
    "LabelBins.from_count": case(
        LabelBins.from_count, labels=(LABELS, LABEL_VECTOR), count=(3, WHOLE)
    ),
    "LabelBins.digitize": case(BINS.digitize, labels=(LABELS, ANY_LABELS)),
    "LabelBins.histogram": case(BINS.histogram, labels=(LABELS, ANY_LABELS)),
    "LDS": case(LDS, **KERNEL),
    "kernel_window": case(imbalance.kernel_window, **KERNEL),
    "smooth": case(
        imbalance.smooth, values=(LABELS, (3, "a", ["a"], [DAY], None)),
        window=([1.0], (3, "a", ["a"], [DAY], None)), boundary=("zero", CHOICE),
    ),
    "BinnedDensity": case(
        imbalance.BinnedDensity, bins=(BINS, LABEL_BINS),
        counts=(np.ones(4), (3, "a", ["a"] * 4, [DAY] * 4, None)),
    ),
    "BinnedDensity.from_labels": case(
        imbalance.BinnedDensity.from_labels, labels=(LABELS, LABEL_VECTOR), bins=(BINS, LABEL_BINS)
    ),
    "KernelDensity.from_labels": case(
        imbalance.KernelDensity.from_labels, labels=(LABELS, LABEL_VECTOR), bandwidth=(None, NUMBER)
    ),
    "KernelDensity.evaluate": case(
        imbalance.KernelDensity.from_labels(LABELS).evaluate, labels=(LABELS, LABEL_VECTOR)
    ),
    "silverman_bandwidth": case(imbalance.silverman_bandwidth, labels=(LABELS, LABEL_VECTOR)),
    "PchipRelevance": case(
        imbalance.PchipRelevance, labels=([0.0, 1.0], LABEL_VECTOR),
        relevance=([0.0, 1.0], (*TEXTS, 3.0)),
    ),
    "PchipRelevance.from_box_plot": case(
        imbalance.PchipRelevance.from_box_plot, labels=([1, 2, 3, 4, 5, 6, 7, 30], LABEL_VECTOR),
        whisker=(1.5, NUMBER),
    ),
    "PchipRelevance.__call__": case(
        imbalance.PchipRelevance([0.0, 1.0], [0.0, 1.0]).__call__, labels=(LABELS, LABEL_VECTOR)
    ),
    "DensityRelevance": case(
        imbalance.DensityRelevance, density=(imbalance.KernelDensity.from_labels(LABELS), OBJECT),
        peak=(2.0, NUMBER),
    ),
    "DensityRelevance.from_labels": case(
        imbalance.DensityRelevance.from_labels, labels=(LABELS, LABEL_VECTOR),
        bandwidth=(None, NUMBER),
    ),
    "DensityRelevance.__call__": case(
        imbalance.DensityRelevance.from_labels(LABELS).__call__, labels=(LABELS, LABEL_VECTOR)
    ),
    "fit_relevance": case(imbalance.fit_relevance, labels=(LABELS, LABEL_VECTOR)),
    "RandomOverSampler": resampling(imbalance.RandomOverSampler, threshold=(0.8, NUMBER)),
    "RandomUnderSampler": resampling(imbalance.RandomUnderSampler, threshold=(0.8, NUMBER)),
    "WERCS": resampling(imbalance.WERCS, over=(0.5, NUMBER), under=(0.5, NUMBER)),
    "SMOTER": resampling(
        imbalance.SMOTER, threshold=(0.8, NUMBER), k_neighbors=(5, WHOLE),
        categorical_features=(None, (3, "a", [1.5])),
    ),
    "SMOGN": resampling(
        imbalance.SMOGN, threshold=(0.8, NUMBER), k_neighbors=(5, WHOLE),
        categorical_features=(None, (3, "a", [1.5])), perturbation=(0.02, NUMBER),
    ),
    "make_resampler": case(
        imbalance.make_resampler, name=("over", CHOICE), random_state=(0, ("a", 2.5, [1], True)),
    ),
    "density_weights": case(imbalance.density_weights, **WEIGHTS),
    "DensityWeights.fit": case(DensityWeights.fit, **WEIGHTS),
    "DensityWeights": case(
        DensityWeights.fit(LABELS, bins=BINS).__call__, labels=(LABELS, LABEL_VECTOR)
    ),
    "FDS": case(
        FDS, num_features=(3, WHOLE), bins=(BINS, LABEL_BINS), **KERNEL, momentum=(0.9, NUMBER),
        clip=((0.1, 10.0), (3, "a", [1], [DAY, DAY], None)), empty_bins=("zeros", CHOICE),
        paper_compat=(False, FLAG),
    ),
    "FDS.forward": forward(fds(), **FEATURES_AND_LABELS),
    "FDS.calibrate": case(fds().calibrate, **FEATURES_AND_LABELS),
    "FDS.accumulate": case(fds().accumulate, **FEATURES_AND_LABELS),
    "FDS.merge_statistics": case(fds().merge_statistics, other=(fds(), (3, None, Z))),
    "regression_scores": case(
        metrics.regression_scores, preds=(Y, TENSOR), target=(Y, TENSOR),
        gmean_epsilon=(0.0, NUMBER),
    ),
    "ShotRegions": case(
        ShotRegions, bins=(BINS, LABEL_BINS), counts=(np.ones(4), ("a", ["a"] * 4, None)),
        names=(("many",) * 4, (3, None, "many", [1] * 4)),
        named=((), (3, "a", {"low": 3}, [("low", 3)])),
    ),
    "ShotRegions.from_counts": case(
        ShotRegions.from_counts, bins=(BINS, LABEL_BINS), training=(LABELS, ANY_LABELS),
        many=(3, ("a", None, [1])), few=(1, ("a", None, [1])),
        named=({}, (3, "a", {"low": 3}, None)),
    ),
    "ShotRegions.from_bin_ids": case(
        ShotRegions.from_bin_ids, bins=(BINS, LABEL_BINS), training=(LABELS, ANY_LABELS),
        many=({0}, (3, "a", None)), medium=({1}, (3, "a", None)), named=({}, (3, "a", None)),
    ),
    "ShotRegions.masks": case(REGIONS.masks, labels=(LABELS, ANY_LABELS)),
    "RegionMetrics": case(
        RegionMetrics, regions=(REGIONS, (3, BINS, None)), gmean_epsilon=(0.0, NUMBER),
        flat=(None, ("other", 3, True)),
    ),
    "RegionMetrics.update": case(
        RegionMetrics(REGIONS).update, preds=(Y, ([0.5], "a", 3, None, [torch.zeros(3)])),
        target=(Y, ([0.5], "a", 3, None)), index=(None, ([0], "a", 3)),
    ),
    "LabelRange": case(
        LabelRange, low=(0.0, ("a", [1], DAY)), high=(1.0, ("a", [1], DAY)), strict=(False, FLAG)
    ),
    "RankSimCallback": case(
        lightning.RankSimCallback, loss=(RankSimLoss(), (3, "l1", fds())), layer=("encoder", NAME),
        labels_fn=(lightning.get_labels, FUNCTION),
    ),
    "FDSCallback": case(
        lightning.FDSCallback, fds=(fds(), (3, "fds", BINS)), layer=("encoder", NAME),
        labels_fn=(lightning.get_labels, FUNCTION), inputs_fn=(lightning.get_inputs, FUNCTION),
        update_statistics=(True, FLAG),
    ),
    "WeightsCallback": case(
        lightning.WeightsCallback,
        weights=(DensityWeights.fit(LABELS, bins=BINS), (3, LABELS, LDS())),
        labels_fn=(lightning.get_labels, FUNCTION), key=("weight", NAME),
    ),
    "RetrainHeadCallback": case(
        lightning.RetrainHeadCallback, encoder=("encoder", NAME), head=("head", NAME),
        checkpoint=("a.ckpt", (3, None, ["a"])), paper_compat=(False, FLAG),
    ),
    "get_labels": case(lightning.get_labels, batch=((Z, Y), (3, "a", None, [Z] * 3))),
    "get_inputs": case(lightning.get_inputs, batch=((Z, Y), (3, "a", None, [Z] * 3))),
    "DensitySampleWeight": case(
        fit_weights, bins=(4, (2.5, "auto", [0, 1])), lds=(None, OBJECT), y=(LABELS, LABEL_VECTOR),
    ),
    "RankSimRegressor": case(
        fit_regressor, X=([[0.0], [1.0]], ([["a"], ["b"]], [[DAY], [DAY]])),
        y=([0.0, 1.0], (["a", "b"], [DAY, DAY])), method=("vanilla", (3, None, ["inv"])),
        hidden=(4, WHOLE), dropout=(0.0, NUMBER), config=({}, (3, "lr")),
        random_state=(0, ("a", 2.5, torch.Generator())), device=("cpu", (0, None)),
        early_stopping=(True, FLAG),
    ),
    "load_model": case(
        ranksim.load_model, path=("a", (3, None, ["a"])), encoder=(None, (3, ["a"])),
        network=(None, (3, "build")),
    ),
}  # fmt: skip
# names of types and constants, and a protocol
OTHER = {"BOUNDARIES", "Boundary", "KERNELS", "Kernel", "LabelDensity", "METRICS", "REGION_NAMES"}
OTHER |= {"RESAMPLERS", "RelevanceFunction", "Resampler", "ResamplerName"}
OTHER |= {
    "Comparison",
    "Drift",
    "Evaluation",
    "LabelReport",
    "Model",
}  # and functions on data: tests/api
OTHER |= {"compare", "fit", "inspect", "push_to_hub"}
OTHER |= {"SCHEMES", "SHOT_NAMES", "Scheme", "__version__", "functional"}

RESAMPLERS = {"RandomOverSampler", "RandomUnderSampler", "WERCS", "SMOTER", "SMOGN"}

PARAMETERS = [(name, param) for name, (_, params) in CASES.items() for param in params]


@pytest.mark.parametrize(("name", "param"), PARAMETERS)
def test_wrong_type_is_reported_in_a_sentence(name, param):
    function, params = CASES[name]
    names = {param, param.rstrip("_"), *ALIASES.get(param, ())}
    for value in params[param][1]:
        arguments = {key: valid for key, (valid, _) in params.items()} | {param: value}
        with pytest.raises((TypeError, ValueError)) as caught:
            function(**arguments)
        message, frames = str(caught.value), traceback.extract_tb(caught.value.__traceback__)
        assert SOURCE in Path(frames[-1].filename).parents, f"not checked: {message}"
        assert any(re.search(rf"\b{word}\b", message) for word in names), message
        assert re.search(r"\b(must|takes|needs?)\b", message), message
        assert "\n" not in message
        assert len(message) < 300


ALIASES = {
    "kind": ("label_similarity",), "training": ("labels",), "y": ("labels",),
    "other": ("statistics",),
    "low": ("range",), "high": ("range",), "ref_labels": ("ref_features",),
    "ref_features": ("ref_labels",), "method": ("Method",),
}  # fmt: skip


def test_valid_arguments_are_accepted():
    for name, (function, params) in CASES.items():
        if name not in ("load_model", "RankSimRegressor"):
            function(**{key: valid for key, (valid, _) in params.items()})


def test_all_public_names_are_covered():
    modules = ranksim, functional, losses, imbalance, metrics, lightning, sklearn
    names = {name for module in modules for name in module.__all__}
    assert names - OTHER == {name.partition(".")[0] for name in CASES} - {"LabelRange"}
    for name, (function, params) in CASES.items():
        if name in ("RankSimRegressor", "DensitySampleWeight"):
            continue
        if name in RESAMPLERS:
            function = getattr(imbalance, name)
            params = set(params) - {"X", "y"}
        signature = inspect.signature(function).parameters.values()
        named = {p.name for p in signature if p.kind is not p.VAR_KEYWORD and p.name != "self"}
        assert named == set(params), name
