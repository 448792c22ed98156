"""Any small network of the operators with rules, cut anywhere, computes what its masked original computes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from channels_oracle import Weights, check_cut, net, whole
from hypothesis import given, settings
from hypothesis import strategies as st

SIZE = 4  # height and width throughout


@dataclass
class Sketch:
    """A network in the making: its text, its weights, and the values with their channel counts."""

    nodes: list[str] = field(default_factory=list)
    weights: Weights = field(default_factory=dict)
    values: list[tuple[str, int]] = field(default_factory=lambda: [("x", 3)])
    soft: bool = False  # something was made of zero

    def weight(self, given: tuple[int, ...] | np.ndarray, prefix: str = "w") -> str:
        name = f"{prefix}{len(self.weights)}"
        self.weights[name] = given
        return name

    def add(self, call: str, channels: int) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(f"{name} = {call}")
        self.values.append((name, channels))
        return name

    def conv(self, source: str, inputs: int, outputs: int, group: int = 1) -> str:
        w, b = self.weight((outputs, inputs // group, 3, 3)), self.weight((outputs,))
        return self.add(f"Conv<pads=[1,1,1,1],group={group}>({source}, {w}, {b})", outputs)


def convolution(s: Sketch, draw: st.DrawFn, v: str, c: int) -> None:
    s.conv(v, c, draw(st.integers(2, 8)))


def depthwise(s: Sketch, draw: st.DrawFn, v: str, c: int) -> None:
    s.conv(v, c, c * draw(st.integers(1, 2)), group=c)


def grouped(s: Sketch, draw: st.DrawFn, v: str, c: int) -> None:
    group = draw(st.sampled_from([g for g in range(1, c + 1) if c % g == 0]))
    s.conv(v, c, group * draw(st.integers(1, 3)), group=group)


def normalised(s: Sketch, draw: st.DrawFn, v: str, c: int) -> None:
    scale, shift, mean, var = (s.weight((c,), prefix) for prefix in ("s", "t", "m", "var"))
    s.add(f"BatchNormalization({v}, {scale}, {shift}, {mean}, {var})", c)


def activation(s: Sketch, draw: st.DrawFn, v: str, c: int) -> None:
    kind = draw(st.sampled_from(["Relu", "LeakyRelu", "Tanh", "Sigmoid", "PRelu"]))
    s.soft |= kind == "Sigmoid"
    s.add(f"PRelu({v}, {s.weight((c, 1, 1))})" if kind == "PRelu" else f"{kind}({v})", c)


def combined(s: Sketch, draw: st.DrawFn, v: str, c: int) -> None:
    other = draw(st.sampled_from([name for name, count in s.values if count == c]))
    kind = draw(st.sampled_from(["Add", "Mul", "Sub", "Max"]))
    s.soft |= kind == "Max"  # max(0, what is left of the other) is not 0 when one side only is masked
    s.add(f"{kind}({v}, {other})", c)


def concatenated(s: Sketch, draw: st.DrawFn, v: str, c: int) -> None:
    other, count = draw(st.sampled_from(s.values))
    if c + count <= 16:
        s.add(f"Concat<axis=1>({v}, {other})", c + count)


def parted(s: Sketch, draw: st.DrawFn, v: str, c: int) -> None:
    if c >= 2:
        at = draw(st.integers(1, c - 1))
        left, right = f"l{len(s.nodes)}", f"r{len(s.nodes)}"
        s.nodes.append(f"{left}, {right} = Split<axis=1>({v}, {s.weight(whole(at, c - at))})")
        s.values += [(left, at), (right, c - at)]


def sliced(s: Sketch, draw: st.DrawFn, v: str, c: int) -> None:
    start, step = draw(st.integers(0, c - 1)), draw(st.sampled_from([1, 2, -1]))
    count = len(range(c)[start::step])
    numbers = (whole(start), whole(2**62 if step > 0 else -(2**62)), whole(1), whole(step))
    s.add(f"Slice({v}, {', '.join(s.weight(n) for n in numbers)})", count)


def padded(s: Sketch, draw: st.DrawFn, v: str, c: int) -> None:
    before, after = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    s.add(f"Pad({v}, {s.weight(whole(0, before, 0, 0, 0, after, 0, 0))})", c + before + after)


def shuffled(s: Sketch, draw: st.DrawFn, v: str, c: int) -> None:
    group = draw(st.sampled_from([g for g in range(1, c + 1) if c % g == 0]))
    five = s.weight(whole(0, group, c // group, SIZE, SIZE))
    four = s.weight(whole(0, c, SIZE, SIZE))
    one = s.add(f"Reshape({v}, {five})", 0)
    two = s.add(f"Transpose<perm=[0,2,1,3,4]>({one})", 0)
    s.values = [value for value in s.values if value[1]]
    s.add(f"Reshape({two}, {four})", c)


def excited(s: Sketch, draw: st.DrawFn, v: str, c: int) -> None:
    pooled = s.add(f"GlobalAveragePool({v})", 0)
    scores = s.add(f"Conv({pooled}, {s.weight((c, c, 1, 1))})", 0)
    gate = s.add(f"HardSigmoid({scores})", 0)
    s.values = [value for value in s.values if value[1]]
    s.soft = True
    s.add(f"Mul({v}, {gate})", c)


def channels_last(s: Sketch, draw: st.DrawFn, v: str, c: int) -> None:
    last = s.add(f"Transpose<perm=[0,2,3,1]>({v})", 0)
    biased = s.add(f"Add({last}, {s.weight((c,))})", 0)
    s.values = [value for value in s.values if value[1]]
    s.add(f"Transpose<perm=[0,3,1,2]>({biased})", c)


STEPS = [
    convolution, convolution, depthwise, grouped, normalised, activation, combined, concatenated, parted,
    sliced, padded, shuffled, excited, channels_last,
]  # fmt: skip


@st.composite
def sketches(draw: st.DrawFn) -> Sketch:
    sketch = Sketch()
    sketch.conv("x", 3, draw(st.integers(2, 8)))
    for step in draw(st.lists(st.sampled_from(STEPS), min_size=2, max_size=9)):
        name, count = draw(st.sampled_from(sketch.values[-3:]))
        step(sketch, draw, name, count)
    name, count = sketch.values[-1]
    if draw(st.booleans()):
        sketch.nodes += [f"p = GlobalAveragePool({name})", "f = Flatten(p)"]
        sketch.weights["fc"] = (count, 3)
    else:
        sketch.nodes.append(f"f = Flatten({name})")
        sketch.weights["fc"] = (count * SIZE * SIZE, 3)
    sketch.nodes.append("y = MatMul(f, fc)")
    return sketch


@settings(max_examples=60, deadline=None)
@given(sketches(), st.integers(0, 2**16), st.sampled_from([0.2, 0.5, 0.9]))
def test_a_cut_of_any_network_equals_its_masked_original(sketch: Sketch, seed: int, share: float) -> None:
    graph = net("float[N,3,4,4] x", "float[N,3] y", " ".join(sketch.nodes), sketch.weights, seed=seed)
    check_cut(graph, seed=seed, readers=sketch.soft, share=share)
