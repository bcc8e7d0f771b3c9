"""Lightning callbacks for FDS, RankSim, weights and RRT, for an unchanged LightningModule.

A layer is given by its dotted name in the module, for example ``"encoder"`` or
``"model.avgpool"``. Its output, the feature, has shape ``(N, D)`` or ``(N, D, 1, ...)``, or
``(N, D, ...)`` for dense labels ``(N, 1, ...)``. Hooks are removed when ``fit`` ends or fails.
"""

from ranksim.exceptions import require_optional

try:
    from ranksim.integrations.lightning.fds import FDSCallback
    from ranksim.integrations.lightning.layer import get_inputs, get_labels
    from ranksim.integrations.lightning.ranksim import RankSimCallback
    from ranksim.integrations.lightning.rrt import RetrainHeadCallback
    from ranksim.integrations.lightning.weights import WeightsCallback
except ModuleNotFoundError:
    require_optional("lightning.pytorch", "train")  # names the extra that installs it
    raise

__all__ = [
    "FDSCallback",
    "RankSimCallback",
    "RetrainHeadCallback",
    "WeightsCallback",
    "get_inputs",
    "get_labels",
]
