"""What a delta takes from its base, as docs/artifact.md says: tensors, skeleton, steps, nearest symbols."""

import bisect
import functools
import itertools
import math
import struct

from plain_streams import Bytes, planes

# ONNX numbers its dtypes (onnx.proto, TensorProto.DataType).
DTYPES = {1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64"}
DTYPES |= {10: "float16", 11: "float64", 16: "bfloat16"}


def size_of(dtype):
    return int(dtype.lstrip("bfloatuin")) // 8


def fields(data, start, stop):
    """(number, value) of each protobuf field; where it has a length, the value is (start, stop)."""
    source = Bytes(data[:stop])
    source.at = start
    while source.at < stop:
        number, wire = divmod(source.varint(), 8)
        if wire == 0:
            yield number, source.varint()
        elif wire == 2:
            length = source.varint()
            source.take(length)
            yield number, (source.at - length, source.at)
        else:
            source.take({1: 8, 5: 4}[wire])


def inside(data, place, number):
    return [value for found, value in fields(data, *place) if found == number]


def words(data, places):
    return [data[start:stop].decode() for start, stop in places]


class Base:
    """The tensors of an ONNX file by name, as (dtype, shape, bytes), and its skeleton."""

    def __init__(self, data):
        self.data, self.tensors, cuts = data, {}, []
        for name, place in self.found():
            tensor = self.tensor(place)
            if tensor is None or not 1 <= len(name) <= 1024 or name in self.tensors:
                continue
            dtype, shape, (start, stop) = tensor
            self.tensors[name] = dtype, shape, data[start:stop]
            if stop - start > 4096:
                cuts.append((start, stop))
        skeleton, at = b"", 0
        for start, stop in sorted(cuts):
            skeleton, at = skeleton + data[at:start], stop
        self.skeleton = (skeleton + data[at:])[: 2**18]

    def found(self):
        """(name, place) of initializers and constants, in the order of the file."""
        data = self.data
        for graph in inside(data, (0, len(data)), 7):
            for number, place in fields(data, *graph):
                if number == 5:
                    yield "".join(words(data, inside(data, place, 8))), place
                if number == 1 and words(data, inside(data, place, 4)) == ["Constant"]:
                    for attribute in inside(data, place, 5):
                        for value in inside(data, attribute, 5):
                            names = words(data, [*inside(data, value, 8), *inside(data, place, 2)])
                            yield next(filter(None, names), ""), value

    def tensor(self, place):
        shape, dtype, data = [], None, None
        for number, value in fields(self.data, *place):
            if number == 1 and isinstance(value, tuple):
                packed = Bytes(self.data[: value[1]])
                packed.at = value[0]
                while packed.at < value[1]:
                    shape.append(packed.varint())
            elif number == 1:
                shape.append(value)
            elif number == 2:
                dtype = DTYPES.get(value)
            elif number == 9 or (number == 4 and isinstance(value, tuple)):
                data = value
        if (
            dtype is None
            or data is None
            or len(shape) > 8
            or data[1] - data[0] != math.prod(shape) * size_of(dtype)
        ):
            return None
        return dtype, shape, data


def values(data, dtype):
    """The elements as numbers."""
    size = size_of(dtype)
    if dtype == "bfloat16":
        data = b"".join(b"\0\0" + data[at : at + 2] for at in range(0, len(data), 2))
        size = 4
    kind = {"f": {2: "e", 4: "f", 8: "d"}, "b": {4: "f"}, "i": {1: "b", 2: "h", 4: "i", 8: "q"}}
    kind["u"] = {1: "B", 2: "H"}
    return list(struct.unpack(f"<{len(data) // size}{kind[dtype[0]][size]}", data))


def difference(source, base, dtype):
    """A payload of `difference` for the elements whose bytes in the base these are."""
    size = size_of(dtype)
    bits = 8 * size
    steps, out = planes(source, len(base) // size, size), b""
    sign = 1 << (bits - 1)
    for at in range(0, len(base), size):
        x, u = (int.from_bytes(data[at : at + size], "little") for data in (base, steps))
        d = -((u + 1) // 2) if u % 2 else u // 2
        if dtype[0] in "fb":
            x = ~x if x & sign else x | sign
        x = (x + d) % 2**bits
        if dtype[0] in "fb":
            x = x ^ sign if x & sign else ~x % 2**bits
        out += x.to_bytes(size, "little")
    return out


def ordered(data, dtype):
    """The distinct elements' bytes, ascending by value."""

    def place(element):
        number = values(element, dtype)[0]
        if math.isnan(number):
            return 1, int.from_bytes(element, "little"), 0
        return 0, number, -math.copysign(1, number)  # 0.0 before -0.0

    size = size_of(dtype)
    return sorted({data[at : at + size] for at in range(0, len(data), size)}, key=place)


def nearest_value(element, codebook):
    middles = [(float(a) + float(b)) / 2 for a, b in itertools.pairwise(codebook)]
    return bisect.bisect_left(middles, -math.inf if math.isnan(element) else float(element))


def nearest_integer(element, step, lowest, count):
    quotient = element / step if step else 0.0
    if not math.isfinite(quotient):
        return count - 1 if quotient > 0 else 0
    return min(max(round(quotient) - lowest, 0), count - 1)


@functools.cache
def base_of(data):
    return Base(data)
