"""The techniques as Lightning callbacks, for any LightningModule as it stands.

A layer is given by its dotted name in the module, for example ``"encoder"`` or
``"model.avgpool"``; its output, of shape ``(N, D)`` or ``(N, D, 1, ...)``, is the feature, or of
shape ``(N, D, ...)`` where labels are dense, ``(N, 1, ...)``. What the callbacks put into a module
is taken out again when ``fit`` ends, however it ends.
"""

from ranksim.exceptions import require_optional

try:
    from ranksim.integrations.lightning.batches import inputs_of, labels_of
    from ranksim.integrations.lightning.fds import FDSCallback
    from ranksim.integrations.lightning.ranksim import RankSimCallback
    from ranksim.integrations.lightning.rrt import RetrainHeadCallback
    from ranksim.integrations.lightning.weights import WeightsCallback
except ModuleNotFoundError:
    require_optional("lightning.pytorch", "train")  # says which extra brings it
    raise

__all__ = [
    "FDSCallback",
    "RankSimCallback",
    "RetrainHeadCallback",
    "WeightsCallback",
    "inputs_of",
    "labels_of",
]
