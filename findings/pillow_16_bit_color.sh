#!/usr/bin/env bash
# Pillow 13.0.0: color PNG files of 16 bits per channel lose their lower 8 bits without a warning.
#
# A grayscale PNG of 16 bits opens in mode I;16 with all of its values. RGB, RGBA and grayscale with alpha of
# 16 bits open in the 8-bit modes RGB and RGBA: each value is divided by 256. A color image whose values use
# only the lower 8 bits (dark frames, masks, measurements below 256) is therefore all zeros. The PNG
# specification allows 16 bits for these color types. Source: behavior of PIL.Image.open on PNG files that are
# written chunk by chunk, run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "pillow==13.0.0" "numpy==2.4.6"
"$folder/venv/bin/python" - <<'PY'
import io
import struct
import zlib

import numpy as np
import PIL
from PIL import Image


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def encode(pixels, color_type):
    """Encode pixels (H, W, C) as a PNG file of 16 bits per channel."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


values = np.array([[0, 1, 255, 256, 4_095, 65_535]], dtype=np.uint16)
for name, color_type, channels in (("gray", 0, 1), ("RGB", 2, 3), ("LA", 4, 2), ("RGBA", 6, 4)):
    file = io.BytesIO(encode(np.repeat(values[..., None], channels, axis=2), color_type))
    image = Image.open(file)
    first = np.asarray(image).reshape(1, values.size, -1)[..., 0]
    print(f"pillow {PIL.__version__}, 16-bit {name}: mode {image.mode}, {values[0]} read as {first[0]}")
    expected = values if name == "gray" else values >> 8
    assert (first == expected).all(), "the behavior changed"
PY
