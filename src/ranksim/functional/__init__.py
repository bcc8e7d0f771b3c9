"""The mathematics of RankSim and of the losses beside it, on plain tensors."""

from ranksim.functional.ranking import rank
from ranksim.functional.ranksim import ranksim_loss
from ranksim.functional.regression import focal_r_loss, huber_loss, l1_loss, mse_loss
from ranksim.functional.sampling import sample_positions
from ranksim.functional.similarity import label_similarity
from ranksim.functional.unique import draw_unique

__all__ = [
    "draw_unique",
    "focal_r_loss",
    "huber_loss",
    "l1_loss",
    "label_similarity",
    "mse_loss",
    "rank",
    "ranksim_loss",
    "sample_positions",
]
