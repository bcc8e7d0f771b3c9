"""Training with Lightning's Trainer: on accelerators, in several processes, in mixed precision."""

from ranksim.exceptions import require_optional

require_optional("lightning.pytorch", "train")
