"""Builds the codec's hot loops (compression/native) with the C compiler in the PyPI package ziglang."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "compression/edgepress_compression/codec/native/libedgepress_codec.so"
FLAGS = "-shared -fPIC -O3 -std=c11 -Wall -Wextra -Werror -fvisibility=hidden -nostdlib -ffreestanding"

if __name__ == "__main__":
    OUT.parent.mkdir(exist_ok=True)
    source = ROOT / "compression/native/codec.c"
    compiler = [sys.executable, "-m", "ziglang", "cc", *FLAGS.split()]
    subprocess.run([*compiler, "-o", str(OUT), str(source)], check=True)
