#!/usr/bin/env bash
# Pillow 13.0.0: unsigned 32-bit pixels of a TIFF file above 2,147,483,647 become negative without a warning.
#
# TIFF files of 32-bit unsigned integers (SampleFormat 1) open in mode I, whose pixels are signed: 2,147,483,648
# is read as -2,147,483,648 and 4,294,967,295 as -1, in numpy.asarray, getpixel and getextrema alike. The
# brightest pixels of an image become its darkest. The tag says that the integers are unsigned, so the values
# can be recovered with numpy.asarray(image).view(numpy.uint32). Source: behavior of PIL.Image.open on an
# uncompressed TIFF file, run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "pillow==13.0.0" "numpy==2.4.6"
"$folder/venv/bin/python" - <<'PY'
import io
import struct

import numpy as np
import PIL
from PIL import Image

SHORT, LONG = 3, 4
values = np.array([[0, 1, 2**31 - 1, 2**31, 2**32 - 1]], dtype="<u4")
height, width = values.shape
tags = [
    (256, SHORT, width), (257, SHORT, height), (258, SHORT, 32), (259, SHORT, 1), (262, SHORT, 1),
    (273, LONG, 8), (277, SHORT, 1), (278, SHORT, height), (279, LONG, values.nbytes), (339, SHORT, 1),
]
entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
header = b"II*\0" + struct.pack("<I", 8 + values.nbytes)
file = header + values.tobytes() + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
image = Image.open(io.BytesIO(file))
pixels = np.asarray(image)
print(f"pillow {PIL.__version__}, SampleFormat {image.tag_v2[339]}, mode {image.mode}:")
print(f"  {values[0]} read as {pixels[0]}, extrema {image.getextrema()}")
assert pixels[0].tolist() == [0, 1, 2**31 - 1, -(2**31), -1], "the behavior changed"
assert (pixels.view(np.uint32) == values).all(), "the behavior changed"
PY
