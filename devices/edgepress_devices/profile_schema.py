"""The tables of a device profile, as types: what each number means, its unit and its bounds.

Every table with numbers is `Sourced`. profile.py reads profiles, profile_check.py says what is wrong with
one, inheritance.py fills in what a profile takes from another; docs/profiles.md explains each field.
"""

from typing import Annotated, Literal

import msgspec

from edgepress_devices.calibration import Calibration

Kind = Literal["board", "phone", "browser", "pc"]
Basis = Literal["datasheet", "measured", "derived", "estimate"]
Words = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Positive = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
PositiveInt = Annotated[int, msgspec.Meta(gt=0, le=2**53)]
ProfileId = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")]


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


class Layout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The memory layout in which the runtime's convolutions run: what a conversion at their edges costs."""

    preferred: Literal["nchw", "nchwc", "nhwc"]  # nchwc: channels in blocks of 8 or 16, innermost
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

    id: ProfileId
    name: Words
    inherits: ProfileId | None = None  # whose tables were taken over where this profile states none
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
    layout: Layout | None = None
    power: Power
    network: Network
    calibration: Calibration | None = None  # fitted to times of such devices; None: datasheet figures only

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
