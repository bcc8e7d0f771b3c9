"""Compile ``term.c``; the package's build does it, and so does running this file.

Needs nothing but Python and a C compiler: that of the variable ``CC``, or the system's.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
_UNIX = (
    *("-O3", "-std=c11", "-ffp-contract=fast", "-fno-math-errno", "-fopenmp-simd"),
    *("-fPIC", "-shared", "-fvisibility=hidden"),
)
_AVX512 = "-mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma -mprefer-vector-width=512"
_UNIX_SETS = {"avx512": _AVX512.split(), "avx2": ["-mavx2", "-mfma"], "baseline": []}
_WINDOWS_SETS = {"avx512": ["/arch:AVX512"], "avx2": ["/arch:AVX2"], "baseline": []}


def library_path(instructions: str) -> Path:
    """Return where a library is; its name changes with the source, so that none is out of date."""
    digest = hashlib.sha256((FOLDER / "term.c").read_bytes()).hexdigest()[:8]
    return FOLDER / f"term-{instructions}-{digest}.so"


def compile_libraries() -> list[Path]:
    """Compile one library per instruction set of the processor's family; return their paths.

    Raises:
        FileNotFoundError: if there is no C compiler.
        subprocess.CalledProcessError: if even the library for all processors does not compile.
    """
    names = [os.environ.get("CC", ""), "cc", "gcc", "clang", "cl"]
    compiler = next((path for name in names if name and (path := shutil.which(name))), None)
    if compiler is None:
        raise FileNotFoundError("there is no C compiler, neither CC nor cc, gcc, clang or cl")
    for old in FOLDER.glob("term-*.so"):
        old.unlink()
    is_windows = Path(compiler).stem.lower() == "cl"
    for name, options in (_WINDOWS_SETS if is_windows else _UNIX_SETS).items():
        if name == "baseline" or platform.machine().lower() in ("x86_64", "amd64"):
            source, out = str(FOLDER / "term.c"), str(library_path(name))
            command = [compiler, *_UNIX, *options, source, "-o", out, "-lm"]
            if is_windows:
                command = [compiler, "/O2", "/LD", "/std:c11", *options, source, f"/Fe:{out}"]
            subprocess.run(command, check=name == "baseline", cwd=FOLDER)
    return sorted(FOLDER.glob("term-*.so"))


if __name__ == "__main__":
    sys.stdout.writelines(f"{path.name}\n" for path in compile_libraries())
