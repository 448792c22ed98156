"""Device profiles: what a kind of device can do, as data, with the source beside every number.

A profile is one TOML file (``profiles/*.toml`` here, or a path of yours); docs/profiles.md explains each
field and how to add one. The one rule: a table that holds a number also holds

    source   where the numbers come from: a datasheet, a specification page, a measurement; never empty
    basis    "datasheet" | "measured" | "derived" | "estimate"

and, where the basis is "derived", ``arithmetic``: the product (or sum of products) that gives the number,
such as ``4 cores x 1.5 GHz x 8 FLOP/cycle``, which is computed again when the file is read. An estimate is
named one: nobody should mistake it for a datasheet.
"""

import difflib
import math
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from edgepress_devices.arithmetic import evaluate_arithmetic

PROFILES_DIR: Final = Path(__file__).parent / "profiles"
PROFILE_MAX_BYTES: Final = 65_536  # a profile is a page of text; larger is refused unread

Kind = Literal["board", "phone", "browser", "pc"]
Basis = Literal["datasheet", "measured", "derived", "estimate"]
Words = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Positive = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
PositiveInt = Annotated[int, msgspec.Meta(gt=0, le=2**53)]


class ProfileError(ValueError):
    """A profile that cannot be used; the text says what to change.

    ProfileError
    ├── UnknownProfile   no profile has this name; ``name`` and ``close`` say which was meant
    └── InvalidProfile   the file is not a profile; ``path`` says which file
    """


class UnknownProfile(ProfileError):
    def __init__(self, name: str, known: list[str]) -> None:
        self.name = name
        self.close = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(self.close)}? " if self.close else ""
        super().__init__(
            f"no device profile {name[:80]!r}: {hint}"
            f"Known: {', '.join(known)}. Or give the path of a .toml file."
        )


class InvalidProfile(ProfileError):
    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        super().__init__(f"{path} is no device profile: {why}")


class Sourced(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table with numbers: says where they come from."""

    source: Annotated[str, msgspec.Meta(min_length=8, max_length=1000)]
    basis: Basis
    arithmetic: Words | None = None  # "4 cores x 1.5 GHz x 8 FLOP/cycle"; present when basis is "derived"


class Cpu(Sourced, frozen=True, kw_only=True):
    model: Words
    machine: Literal["aarch64", "x86_64", "wasm32"]  # as platform.machine() says it
    isa: Words  # instruction sets that matter for inference: NEON, dotprod, AVX2, VNNI
    cores: PositiveInt
    clock_mhz: PositiveInt  # of the fastest cores, sustained where the vendor states it
    threads: PositiveInt  # to give the runtime: physical fast cores, one less where the phone needs one


class FloatPeak(Sourced, frozen=True, kw_only=True):
    gflops: Positive  # 1e9 floating-point operations per second; a multiply-add counts as two


class IntPeak(Sourced, frozen=True, kw_only=True):
    gops: Positive  # 1e9 integer operations per second; a multiply-add counts as two


class Compute(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Peak arithmetic by data type, all ``cpu.threads`` cores together. None: no arithmetic in this type."""

    fp32: FloatPeak
    fp16: FloatPeak | None = None
    int8: IntPeak | None = None


class Gpu(Sourced, frozen=True, kw_only=True):
    model: Words
    clock_mhz: PositiveInt
    compute: Compute


class Bandwidth(Sourced, frozen=True, kw_only=True):
    gb_per_s: Positive  # 1e9 bytes per second, theoretical peak


class Cache(Sourced, frozen=True, kw_only=True):
    l1d_bytes: PositiveInt  # per core
    l2_bytes: PositiveInt  # all of it
    l3_bytes: PositiveInt | None = None  # or system-level cache


class UsableMemory(Sourced, frozen=True, kw_only=True):
    mib: PositiveInt  # what a model and its runtime may take without starving the rest


class Memory(Sourced, frozen=True, kw_only=True):
    ram_mib: PositiveInt
    kind: Words  # "LPDDR4-3200, 32 bit"
    usable: UsableMemory
    bandwidth: Bandwidth
    cache: Cache


class Storage(Sourced, frozen=True, kw_only=True):
    kind: Words  # "microSD", "eMMC", "NVMe"
    read_mb_per_s: Positive  # sequential


class Runtime(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How onnxruntime runs here, best provider first."""

    engine: Literal["onnxruntime", "onnxruntime-web"]
    providers: Annotated[list[Words], msgspec.Meta(min_length=1, max_length=8)]
    reason: Words


class Int8(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The quantized form that runs fast here. Weights are always s8, per channel.

    ``activations`` None (in the file: "none"): int8 is slower than fp32 here, so do not quantize for speed.
    """

    activations: Literal["u8", "s8"] | None
    reason: Words


class Support(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether a data type is worth using for speed, with the reason in words."""

    supported: bool
    reason: Words


class Power(Sourced, frozen=True, kw_only=True):
    """Whole device at its supply, in milliwatts; ``power_estimate`` draws a line from idle to typical."""

    idle_mw: Positive  # booted, no load
    typical_mw: Positive  # all CPU cores busy
    tdp_mw: Positive  # the most it may draw: thermal design or supply limit
    sensors: list[Literal["ina3221", "ina238", "pmic", "rapl", "battery"]]  # may measure; [] = estimate only


class Network(Sourced, frozen=True, kw_only=True):
    kinds: Annotated[list[Words], msgspec.Meta(min_length=1, max_length=8)]
    down_mbit_per_s: Positive  # of the usual link, for planning a rollout


class DeviceProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of device; ``.cores``, ``.threads``, ``.ram_mib``, ``.providers`` reach into its tables."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")]
    name: Words
    kind: Kind
    notes: Annotated[str, msgspec.Meta(max_length=2000)] = ""
    cpu: Cpu
    compute: Compute
    gpu: Gpu | None = None
    memory: Memory
    storage: Storage
    runtime: Runtime
    int8: Int8
    int4: Support  # MatMulNBits block weights
    fp16: Support
    power: Power
    network: Network

    @property
    def cores(self) -> int:
        return self.cpu.cores

    @property
    def threads(self) -> int:
        return self.cpu.threads

    @property
    def ram_mib(self) -> int:
        return self.memory.ram_mib

    @property
    def usable_mib(self) -> int:
        return self.memory.usable.mib

    @property
    def providers(self) -> list[str]:
        return self.runtime.providers


def load_profile(id_or_path: str | Path) -> DeviceProfile:
    """The profile shipped under this id, or the one in this ``.toml`` file.

    Raises UnknownProfile (with the closest names) and InvalidProfile (with what to change).
    """
    text = str(id_or_path)
    if isinstance(id_or_path, Path) or text.endswith(".toml") or "/" in text or "\\" in text:
        path = Path(id_or_path)
        if not path.is_file():
            raise InvalidProfile(path, "there is no such file")
        return _read(path)
    known = _shipped()
    if text not in known:
        raise UnknownProfile(text, sorted(known))
    return _read(known[text])


def list_profiles() -> list[DeviceProfile]:
    """All shipped profiles, by id."""
    return [_read(path) for _, path in sorted(_shipped().items())]


def _shipped() -> dict[str, Path]:
    return {path.stem: path for path in PROFILES_DIR.glob("*.toml")}


def _read(path: Path) -> DeviceProfile:
    try:
        with path.open("rb") as file:
            raw = file.read(PROFILE_MAX_BYTES + 1)
    except OSError as error:
        raise InvalidProfile(path, f"it cannot be read ({error.strerror})") from error
    if len(raw) > PROFILE_MAX_BYTES:
        raise InvalidProfile(path, f"it is larger than {PROFILE_MAX_BYTES} bytes")
    try:
        table = tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidProfile(path, f"it is not TOML ({error})") from error
    int8 = table.get("int8")
    if isinstance(int8, dict) and int8.get("activations") == "none":  # TOML has no null
        int8["activations"] = None
    try:
        profile = msgspec.convert(table, DeviceProfile)
    except msgspec.ValidationError as error:
        raise InvalidProfile(path, f"{error}. docs/profiles.md shows every field") from error
    _check(profile, table, path)
    return profile


def _check(profile: DeviceProfile, table: dict[str, Any], path: Path) -> None:
    if path.parent == PROFILES_DIR and profile.id != path.stem:
        raise InvalidProfile(path, f"its id is {profile.id!r}; name the file {profile.id}.toml")
    power = profile.power
    if not power.idle_mw <= power.typical_mw <= power.tdp_mw:
        raise InvalidProfile(path, "power must grow: idle_mw <= typical_mw <= tdp_mw")
    if profile.memory.usable.mib > profile.memory.ram_mib:
        raise InvalidProfile(path, "memory.usable.mib is larger than memory.ram_mib")
    if profile.cpu.threads > profile.cpu.cores:
        raise InvalidProfile(path, "cpu.threads is larger than cpu.cores")
    for name, inner in _tables(table, ""):
        _check_arithmetic(name, inner, path)


def _check_arithmetic(name: str, table: dict[str, Any], path: Path) -> None:
    text = table.get("arithmetic")
    if text is None:
        if table.get("basis") == "derived":
            raise InvalidProfile(path, f'[{name}] is derived: add arithmetic = "4 cores x 1.5 GHz x ..."')
        return
    try:
        result = evaluate_arithmetic(text)
    except ValueError as error:
        raise InvalidProfile(path, f"[{name}] arithmetic: {error}") from error
    numbers = [value for value in table.values() if isinstance(value, int | float)]
    if not any(math.isclose(result, number, rel_tol=0.01) for number in numbers):
        raise InvalidProfile(path, f"[{name}] arithmetic gives {result:g}, the table says {numbers}")


def _tables(table: dict[str, Any], prefix: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for key, value in table.items():
        if isinstance(value, dict):
            found += [(prefix + key, value), *_tables(value, f"{prefix}{key}.")]
    return found
