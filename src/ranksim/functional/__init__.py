"""The mathematics of RankSim on plain tensors."""

from ranksim.functional.ranking import rank
from ranksim.functional.ranksim import ranksim_loss
from ranksim.functional.similarity import label_similarity
from ranksim.functional.unique import draw_unique

__all__ = ["draw_unique", "label_similarity", "rank", "ranksim_loss"]
