"""Compile the CPU path of RankSim when the package is built or installed.

Without a C compiler the package is built all the same; RankSim then runs as plain PyTorch.
"""

import runpy
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "src/ranksim/functional/_kernels/cpu"


class CompileHook(BuildHookInterface):
    """Add compiled libraries to the wheel, which then fits one platform and any Python."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the libraries before the wheel, editable or not, is built."""
        script = runpy.run_path(str(Path(self.root) / FOLDER / "compile.py"))
        try:
            script["compile_libraries"]()
        except (OSError, subprocess.CalledProcessError) as error:
            self.app.display_warning(f"RankSim's CPU path is not compiled and slower: {error}")
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["artifacts"].append(f"{FOLDER}/*.so")
        build_data["pure_python"], build_data["tag"] = False, f"py3-none-{platform}"
