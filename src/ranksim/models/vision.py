"""Images to features: ResNets from scratch, and pretrained vision models."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ranksim.exceptions import UsageError, require_optional
from ranksim.models.hub import HubModel
from ranksim.models.pixels import Pixels

# block, blocks in each stage, width of each stage: He et al. (CVPR 2016), table 1
RESNETS = {
    "resnet18": ("basic", (2, 2, 2, 2), (64, 128, 256, 512)),
    "resnet34": ("basic", (3, 4, 6, 3), (64, 128, 256, 512)),
    "resnet50": ("bottleneck", (3, 4, 6, 3), (256, 512, 1024, 2048)),
}
_HALF: tuple[float, ...] = (0.5, 0.5, 0.5)  # scales to [−1, 1]


class ImageEncoder(nn.Module):
    """Bytes of images to features: normalised, through the network, mean over places.

    A ResNet from scratch has its stride on the 3×3 convolution and Kaiming normal weights (fan
    out), drawn from torch's global generator; pixels are scaled to [−1, 1]. A pretrained model
    keeps its own normalisation and gives its pooled output, where it was trained with one, else the
    mean over tokens or places of its last hidden state.

    Args:
        name: ``resnet18``, ``resnet34`` or ``resnet50`` from scratch; or a pretrained vision model:
            a local folder, or a model of the Hugging Face hub. Its weights must be in safetensors
            format; no code that comes with it is run.
        channels_last: weights and images in that memory format, the faster one for a GPU.

    Raises:
        UsageError: no such model, no connection, or a model that does not read images alone.

    Source: He et al. (CVPR 2016); the stride as in most published ResNets since.
    """

    def __init__(self, name: str, *, channels_last: bool = False) -> None:
        super().__init__()
        self.name = name
        self.may_have_unused = name not in RESNETS  # weights that its features do not come from
        self.size: tuple[int, int] | None = None  # that the model was made for, where it has one
        self.options: dict[str, Any] = {}
        self.pixels = Pixels(_HALF, _HALF, channels_last=channels_last)
        if name in RESNETS:
            self.backbone: nn.Module = _resnet(name)
            self.width: int = RESNETS[name][2][-1]
        else:
            found = _pretrained(name)
            self.backbone, self.size, self.options = found.model, found.size, found.options
            self.pixels = Pixels(
                found.mean, found.std, channels_last=channels_last, bgr=found.reads_bgr
            )
            self.width = self._measured()
        if channels_last:
            self.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """RGB images ``(N, H, W, 3)``, uint8, to features ``(N, width)``."""
        if images.dtype != torch.uint8:
            raise TypeError(f"images must be uint8, got {images.dtype}")
        if images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"images must have shape (N, H, W, 3), got {tuple(images.shape)}")
        return self._features(self.pixels(images, next(self.backbone.parameters()).dtype))

    def _features(self, pixels: Tensor) -> Tensor:
        try:
            outputs = self.backbone(pixels, **self.options)
        except torch.OutOfMemoryError:
            raise
        except (ValueError, RuntimeError) as error:
            if self.size is None or tuple(pixels.shape[2:]) == self.size:
                raise
            raise UsageError(
                f"{self.name} takes images of {self.size[0]} × {self.size[1]} pixels and got "
                f"{pixels.shape[2]} × {pixels.shape[3]}; give images of that size, or name another "
                "model."
            ) from error
        pooled = getattr(outputs, "pooler_output", None)
        if pooled is not None:
            return torch.flatten(pooled, 1)
        hidden = getattr(outputs, "last_hidden_state", None)
        if not isinstance(hidden, Tensor):
            raise _not_for_images(self.name)
        return hidden.mean(dim=1) if hidden.ndim == 3 else hidden.mean(dim=(2, 3))

    def _measured(self) -> int:
        """The width of the features of one black image."""
        self.eval()
        try:
            with torch.no_grad():
                black = torch.zeros(1, *(self.size or (224, 224)), 3, dtype=torch.uint8)
                count, width = self(black).shape
        except (ValueError, RuntimeError, TypeError) as error:
            raise _not_for_images(self.name) from error
        if count != 1:
            raise _not_for_images(self.name)
        self.train()  # as every new module
        return int(width)


@dataclass(frozen=True)
class _Pretrained:
    model: nn.Module
    size: tuple[int, int]
    options: dict[str, Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    reads_bgr: bool


def _not_for_images(name: str) -> UsageError:
    return UsageError(
        f"{name} does not turn images alone into features; name a vision model, or one of "
        f"{', '.join(RESNETS)}."
    )


def _resnet(name: str) -> nn.Module:
    transformers = require_optional("transformers", "images")
    block, depths, widths = RESNETS[name]
    config = transformers.ResNetConfig(
        layer_type=block,
        depths=list(depths),
        hidden_sizes=list(widths),
        downsample_in_bottleneck=False,
    )
    model: nn.Module = transformers.ResNetModel(config)
    return model


def _pretrained(name: str) -> _Pretrained:
    others = f"{', '.join(RESNETS)}, a local folder, or a model of the Hugging Face hub"
    hub = HubModel(name, "vision model", others, "images")
    with hub.quiet():
        with hub.reading():
            config, processing = hub.config(), _processing(hub)
        if hub.takes(config) != "pixel_values":
            raise _not_for_images(name)  # before its weights are fetched
        model = hub.load(config)
    accepted = inspect.signature(model.forward).parameters
    option = "interpolate_pos_encoding"
    return _Pretrained(
        model=model,
        size=_size(getattr(config, "image_size", None)),
        options={option: True} if option in accepted else {},
        mean=_three(processing, "image_mean", 0.0 if processing else 0.5),
        std=_three(processing, "image_std", 1.0 if processing else 0.5),
        reads_bgr=bool(processing.get("do_flip_channel_order")),
    )


def _processing(hub: HubModel) -> dict[str, Any]:
    """How the model's images are prepared, read without the libraries that would prepare them."""
    try:
        found, _ = hub.transformers.ImageProcessingMixin.get_image_processor_dict(hub.source)
    except OSError as error:
        if "Can't load image processor" not in str(error):
            raise
        return {}  # it does not say
    return dict(found)


def _three(processing: dict[str, Any], name: str, default: float) -> tuple[float, ...]:
    """Mean or deviation of each colour."""
    if processing.get("do_normalize") is False or processing.get(name) is None:
        return (default,) * 3
    return tuple(float(value) for value in processing[name])


def _size(size: Any) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    return (int(size[0]), int(size[1])) if isinstance(size, list | tuple) else (224, 224)
