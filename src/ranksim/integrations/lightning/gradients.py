"""Check that the gradient at the output of a layer reaches a parameter."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

import lightning.pytorch as L
from torch import Tensor, nn

_CHECKPOINT = "CheckpointFunction"  # its node hides the parameters that it uses


def find_trained_parameters(trainer: L.Trainer, module: nn.Module) -> set[int]:
    """Return the ids of the parameters that an optimizer trains.

    All parameters of the module if the optimizers hold none of them, as some strategies replace
    them.
    """
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    parameters = {id(parameter) for parameter in module.parameters()}
    trained = {id(parameter) for group in groups for parameter in group["params"]}
    return parameters & trained or parameters


def reaches_parameter(output: Tensor, trained: Container[int] | None = None) -> bool:
    """Return whether the gradient of a tensor can reach a parameter.

    Re-entrant checkpoints count as parameters, as their graph exists in the backward pass only.
    With ``trained``, only parameters with these ids count.
    """
    return any(_is_checkpoint(node) or _is_parameter(node, trained) for node in _walk_graph(output))


def _is_parameter(node: Any, trained: Container[int] | None) -> bool:
    variable = getattr(node, "variable", None)
    return isinstance(variable, nn.Parameter) and (trained is None or id(variable) in trained)


def explain_missing_gradient(
    output: Tensor, layer: nn.Module, loss: Tensor, *, grad_enabled: bool
) -> str:
    """Explain why the gradient at the output of a layer reaches no parameter, and what to do.

    Args:
        output: the output of the layer.
        layer: the layer.
        loss: the loss of the training step.
        grad_enabled: whether gradients were enabled when the layer ran.
    """
    if not grad_enabled and any(map(_is_checkpoint, _walk_graph(loss))):
        return (
            "it runs inside a re-entrant activation checkpoint, which computes it without a graph; "
            "pass use_reentrant=False to the checkpoint, or name a layer outside of it"
        )
    if not grad_enabled:
        return "it runs under torch.no_grad(); enable gradients there, or remove the callback"
    parameters = list(layer.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        return "its parameters are frozen; unfreeze them, or remove the callback"
    if parameters and not output.requires_grad:
        return "its output is detached; remove detach() from the layer, or name a layer before it"
    if reaches_parameter(output):
        return "no optimizer trains the parameters before it; pass them to the optimizer"
    return (
        "it is detached from all parameters, or those before it are frozen; remove detach(), "
        "unfreeze parameters, or name another layer"
    )


def _is_checkpoint(node: Any) -> bool:
    return bool(node.name().startswith(_CHECKPOINT))


def _walk_graph(tensor: Tensor) -> Iterator[Any]:
    """Yield the nodes of the autograd graph that ends in a tensor."""
    nodes: list[Any] = [tensor.grad_fn]
    visited: set[Any] = {None}
    while nodes:
        node = nodes.pop()
        if node not in visited:
            visited.add(node)
            yield node
            nodes.extend(parent for parent, _ in node.next_functions)
