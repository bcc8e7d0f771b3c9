"""What a method of the published tables consists of."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ranksim.imbalance import Scheme


@dataclass(frozen=True)
class Technique:
    """The techniques that one training combines.

    Args:
        focal_r: Focal-R in place of the plain loss.
        weighting: how samples are weighted; in two stages, how the second stage's are.
        lds: whether the counts behind the weights are smoothed.
        fds: whether features are calibrated.
        ranksim: whether RankSim is added to the loss.
        two_stage: RRT: train all, then retrain the head alone with weights.
    """

    focal_r: bool = False
    weighting: Scheme = "none"
    lds: bool = False
    fds: bool = False
    ranksim: bool = False
    two_stage: bool = False

    @property
    def stage_one(self) -> Technique:
        """What the first of two stages trains: all but the weights, which are the second's."""
        return dataclasses.replace(self, two_stage=False, weighting="none", lds=False)

    @property
    def stage_two(self) -> Technique:
        """What the second trains: a head on a frozen encoder, where RankSim changes nothing."""
        return dataclasses.replace(self, two_stage=False, ranksim=False)
