"""Features of frozen encoders, computed once and stored on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ranksim._utils.arrays import copy_to_numpy
from ranksim._utils.storage import cache_dir, digest_arrays, read_arrays, write_arrays
from ranksim.data.batch import BatchDataset, VectorDataset

_BATCH_SIZE = 64


def digest_weights(encoder: nn.Module) -> str:
    """Return a digest of the parameters and buffers of an encoder."""
    return digest_arrays(
        {name: copy_to_numpy(value) for name, value in encoder.state_dict().items()}
    )


def compute_features(
    samples: BatchDataset, encoder: nn.Module, device: torch.device | str = "cpu"
) -> NDArray[np.float32]:
    """Return the features ``(N, D)`` of all samples; D is the attribute ``width`` of the encoder.

    The encoder is in evaluation mode. Samples of similar length are in one batch.
    """
    encoder = encoder.to(device).eval()
    order = samples.length_order()
    features = np.empty((len(order), int(encoder.width)), dtype=np.float32)  # type: ignore[arg-type]
    with torch.no_grad():
        for rows in torch.split(order, _BATCH_SIZE) if len(order) else ():
            inputs = (value.to(device) for value in samples.get_inputs(rows))
            features[copy_to_numpy(rows)] = copy_to_numpy(encoder(*inputs).float())
    return features


def embed_images(parts: Sequence[BatchDataset], encoder: nn.Module) -> list[VectorDataset]:
    """Compute image features ``(N, D)`` with a frozen encoder, or read them from the cache.

    Features are found again by the weights of the encoder, the constants that scale its pixels,
    which weights do not contain, and the pixels of the images.
    """
    constants = {name: copy_to_numpy(value) for name, value in encoder.named_buffers()}
    weights = digest_weights(encoder) + digest_arrays(constants)
    datasets = []
    for part in parts:
        digest = hashlib.sha256(weights.encode())
        for rows in torch.split(torch.arange(len(part)), _BATCH_SIZE) if len(part) else ():
            pixels = copy_to_numpy(part.get_inputs(rows)[0])
            digest.update(repr(pixels.shape).encode())
            digest.update(pixels.tobytes())
        path = cache_dir() / "image_features" / f"{digest.hexdigest()[:32]}.npz"
        arrays = read_arrays(path)
        if arrays is None:
            arrays = {"features": compute_features(part, encoder)}
            write_arrays(path, arrays)
        datasets.append(VectorDataset(arrays["features"], copy_to_numpy(part.labels)))
    return datasets
