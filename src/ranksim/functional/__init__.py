"""Functional form of the losses: RankSim, regression losses, ranks and sampling."""

from ranksim.functional.bmse import bmc_loss, gai_loss
from ranksim.functional.bsam import ascent_step
from ranksim.functional.ccc import ccc_loss
from ranksim.functional.conr import conr_loss
from ranksim.functional.dila import dila_loss
from ranksim.functional.dist import dist_loss
from ranksim.functional.gar import gar_loss
from ranksim.functional.nll import gaussian_loss, laplace_loss
from ranksim.functional.ordinal_entropy import ordinal_entropy_loss
from ranksim.functional.quantile import quantile_loss
from ranksim.functional.ranksim import ranksim_loss
from ranksim.functional.regression import focal_r_loss, huber_loss, l1_loss, mse_loss
from ranksim.functional.rnc import rnc_loss
from ranksim.functional.sampling import draw_unique, sample_positions
from ranksim.functional.sera import sera_loss
from ranksim.functional.similarity import label_similarity, rank
from ranksim.functional.srl import srl_loss
from ranksim.functional.uvote import uvote_loss

__all__ = [
    "ascent_step",
    "bmc_loss",
    "ccc_loss",
    "conr_loss",
    "dila_loss",
    "dist_loss",
    "draw_unique",
    "focal_r_loss",
    "gai_loss",
    "gar_loss",
    "gaussian_loss",
    "huber_loss",
    "l1_loss",
    "label_similarity",
    "laplace_loss",
    "mse_loss",
    "ordinal_entropy_loss",
    "quantile_loss",
    "rank",
    "ranksim_loss",
    "rnc_loss",
    "sample_positions",
    "sera_loss",
    "srl_loss",
    "uvote_loss",
]
