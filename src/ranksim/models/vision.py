"""Image encoders: ResNets from scratch, and pretrained vision models."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from ranksim.exceptions import UsageError, require_optional
from ranksim.models.hub import HubModel
from ranksim.models.pixels import Pixels

# block, blocks per stage, width of each stage: He et al. (CVPR 2016), table 1
RESNETS = {
    "resnet18": ("basic", (2, 2, 2, 2), (64, 128, 256, 512)),
    "resnet34": ("basic", (3, 4, 6, 3), (64, 128, 256, 512)),
    "resnet50": ("bottleneck", (3, 4, 6, 3), (256, 512, 1024, 2048)),
}
_DEFAULT_SIZE = (224, 224)


class ImageEncoder(nn.Module):
    """Encoder of image bytes: normalization, network, mean over positions.

    A ResNet from scratch has the stride on its 3×3 convolutions, as most published ones, Kaiming
    normal weights (fan out) drawn from torch's global generator, and pixels scaled to [−1, 1]. A
    pretrained model uses its own normalization and its pooled output; if it was trained without
    one, the mean over tokens or positions of the last hidden state.

    Args:
        name: ``resnet18``, ``resnet34`` or ``resnet50`` from scratch; or a pretrained vision model:
            a local folder, or a model of the Hugging Face hub, with weights in safetensors format.
            No code of the model is run.
        channels_last: memory format of weights and images, faster on GPUs.

    Raises:
        UsageError: the model does not exist, cannot be reached, or does not encode images.

    References:
        He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016).
    """

    def __init__(self, name: str, *, channels_last: bool = False) -> None:
        super().__init__()
        self.name = name
        self.may_have_unused = name not in RESNETS  # weights that the features do not depend on
        self.size: tuple[int, int] | None = None  # image size of a pretrained model
        self.options: dict[str, Any] = {}  # keyword arguments of the backbone
        if name in RESNETS:
            mean = std = (0.5,) * 3
            self.pixels = Pixels(mean, std, channels_last=channels_last)
            self.backbone: nn.Module = _make_resnet(name)
            self.width: int = RESNETS[name][2][-1]
        else:
            self.backbone, config, processing = _load_pretrained(name)
            self.size = _image_size(config)
            if "interpolate_pos_encoding" in inspect.signature(self.backbone.forward).parameters:
                self.options["interpolate_pos_encoding"] = True
            self.pixels = Pixels(
                _channel_values(processing, "image_mean", 0.0 if processing else 0.5),
                _channel_values(processing, "image_std", 1.0 if processing else 0.5),
                channels_last=channels_last,
                bgr=bool(processing.get("do_flip_channel_order")),
            )
            self.width = self._measure_width()
        if channels_last:
            self.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Map RGB images ``(N, H, W, 3)``, uint8, to features ``(N, width)``."""
        if images.dtype != torch.uint8:
            raise TypeError(f"images must be uint8, got {images.dtype}")
        if images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"images must have shape (N, H, W, 3), got {tuple(images.shape)}")
        pixels = self.pixels(images, next(self.backbone.parameters()).dtype)
        try:
            outputs = self.backbone(pixels, **self.options)
        except torch.OutOfMemoryError:
            raise
        except (ValueError, RuntimeError) as error:
            if self.size is None or tuple(pixels.shape[2:]) == self.size:
                raise
            raise UsageError(
                f"{self.name} needs images of {self.size[0]} × {self.size[1]} pixels, got "
                f"{pixels.shape[2]} × {pixels.shape[3]}: resize the images, or name another model."
            ) from error
        pooled = getattr(outputs, "pooler_output", None)
        if pooled is not None:
            return torch.flatten(pooled, 1)
        hidden = getattr(outputs, "last_hidden_state", None)
        if not isinstance(hidden, Tensor):
            raise _not_for_images(self.name)
        return hidden.mean(dim=1) if hidden.ndim == 3 else hidden.mean(dim=(2, 3))

    def _measure_width(self) -> int:
        """Return the width of the features of one black image."""
        self.eval()
        try:
            with torch.no_grad():
                black = torch.zeros(1, *(self.size or _DEFAULT_SIZE), 3, dtype=torch.uint8)
                count, width = self(black).shape
        except (ValueError, RuntimeError, TypeError) as error:
            raise _not_for_images(self.name) from error
        if count != 1:
            raise _not_for_images(self.name)
        self.train()  # the mode of new modules
        return int(width)


def _not_for_images(name: str) -> UsageError:
    return UsageError(
        f"{name} is not an encoder of images: name a vision model, or one of {', '.join(RESNETS)}."
    )


def _make_resnet(name: str) -> nn.Module:
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


def _load_pretrained(name: str) -> tuple[nn.Module, Any, dict[str, Any]]:
    """Load a pretrained vision model, its configuration and its image processor's settings."""
    alternatives = f"{', '.join(RESNETS)}, a local folder, or a model of the Hugging Face hub"
    hub = HubModel(name, "vision model", alternatives, "images")
    with hub.quiet():
        with hub.read_errors():
            config, processing = hub.load_config(), _load_processing(hub)
        if hub.main_input(config) != "pixel_values":  # before the weights are downloaded
            raise _not_for_images(name)
        return hub.load(config), config, processing


def _load_processing(hub: HubModel) -> dict[str, Any]:
    """Load the settings of the model's image processor, which needs no further libraries."""
    try:
        return dict(hub.transformers.ImageProcessingMixin.get_image_processor_dict(hub.source)[0])
    except OSError as error:
        if "Can't load image processor" not in str(error):
            raise
        return {}  # the model has none


def _channel_values(processing: dict[str, Any], name: str, default: float) -> tuple[float, ...]:
    """Return the mean or standard deviation of each channel."""
    if processing.get("do_normalize") is False or processing.get(name) is None:
        return (default,) * 3
    return tuple(float(value) for value in processing[name])


def _image_size(config: Any) -> tuple[int, int]:
    """Return the height and width of images of a pretrained model."""
    size = getattr(config, "image_size", None)
    if isinstance(size, int):
        return size, size
    return (int(size[0]), int(size[1])) if isinstance(size, list | tuple) else _DEFAULT_SIZE
