"""Image encoders: ResNets from scratch, and pretrained vision models."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ranksim.exceptions import UsageError, require_optional
from ranksim.models.pretrained import HubModel, measure_width

# block, blocks per stage, width of each stage: He et al. (CVPR 2016), table 1
RESNETS = {
    "resnet18": ("basic", [2, 2, 2, 2], [64, 128, 256, 512]),
    "resnet34": ("basic", [3, 4, 6, 3], [64, 128, 256, 512]),
    "resnet50": ("bottleneck", [3, 4, 6, 3], [256, 512, 1024, 2048]),
}


class Pixels(nn.Module):
    """Normalizes uint8 images to (x / 255 − mean) / std per channel, channels first.

    ``mean`` and ``std`` are those of red, green and blue, in 0..1. ``channels_last`` is the memory
    format of the result; ``bgr`` reverses the channels for networks that expect blue first.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        channels_last: bool = False,
        bgr: bool = False,
    ) -> None:
        super().__init__()
        if bgr:
            mean, std = mean[::-1], std[::-1]
        shape = (3,) if channels_last else (3, 1, 1)
        # on the CPU even if the network is built on the meta device
        scale = 1 / (255 * torch.tensor(std, dtype=torch.float64, device="cpu"))
        shift = 255 * torch.tensor(mean, dtype=torch.float64, device="cpu")
        self.constants = scale.view(shape), shift.view(shape)
        # constants of the architecture, which checkpoints do not contain
        self.register_buffer("scale", self.constants[0], persistent=False)
        self.register_buffer("shift", self.constants[1], persistent=False)
        self.channels_last, self.bgr = channels_last, bgr

    def forward(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        """Convert RGB ``(N, H, W, 3)`` uint8 to ``(N, 3, H, W)`` of ``dtype``.

        Intermediate values have at least float32.
        """
        pixels = images.flip(-1) if self.bgr else images
        if not self.channels_last:
            pixels = pixels.permute(0, 3, 1, 2).contiguous()
        numbers = pixels.to(torch.promote_types(dtype, torch.float32))
        # subtracting first is exact for a mean of 0.5
        numbers = numbers.sub_(self.shift.to(numbers.dtype)).mul_(self.scale.to(numbers.dtype))
        if self.channels_last:
            numbers = numbers.permute(0, 3, 1, 2)
        return numbers.to(dtype)

    def _apply(self, fn: Any, recurse: bool = True) -> Pixels:
        """Move the constants with the network, without rounding them."""
        self.scale, self.shift = self.scale.float(), self.shift.float()  # MPS has no float64
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        device = self.scale.device
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.scale, self.shift = (constant.to(device, dtype) for constant in self.constants)
        return self


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
            block, depths, widths = RESNETS[name]
            transformers = require_optional("transformers", "images")
            config = transformers.ResNetConfig(
                layer_type=block, depths=depths, hidden_sizes=widths, downsample_in_bottleneck=False
            )
            self.backbone: nn.Module = transformers.ResNetModel(config)
            self.width: int = widths[-1]
        else:
            hub = _make_hub(name)
            with hub.quiet():
                with hub.read_errors():
                    config, processing = hub.load_config(), _load_processing(hub)
                self.backbone = hub.load(config)
            self.size = _image_size(config)
            if "interpolate_pos_encoding" in inspect.signature(self.backbone.forward).parameters:
                self.options["interpolate_pos_encoding"] = True
            self.pixels = Pixels(
                _channel_values(processing, "image_mean", 0.0 if processing else 0.5),
                _channel_values(processing, "image_std", 1.0 if processing else 0.5),
                channels_last=channels_last,
                bgr=bool(processing.get("do_flip_channel_order")),
            )
            black = torch.zeros(1, *self.size, 3, dtype=torch.uint8)
            self.width = measure_width(self, lambda: self(black), hub.unsuitable)
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
            raise _make_hub(self.name).unsuitable
        return hidden.mean(dim=1) if hidden.ndim == 3 else hidden.mean(dim=(2, 3))


def _make_hub(name: str) -> HubModel:
    alternatives = f"{', '.join(RESNETS)}, a local folder, or a model of the Hugging Face hub"
    return HubModel(name, "encoder of images", "pixel_values", alternatives, "images")


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
    return (int(size[0]), int(size[1])) if isinstance(size, list | tuple) else (224, 224)
