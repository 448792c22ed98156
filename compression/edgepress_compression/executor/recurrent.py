"""Recurrent layers: RNN, GRU and LSTM as ONNX defines them, step by step.

The equations are those of the operators' specification. Inputs of all steps are multiplied at once; a sample
whose sequence has ended keeps its state, and its outputs are zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from edgepress_compression.errors import GraphError
from edgepress_compression.executor.operators import Call, operator

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
}
_DEFAULT = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_Cell = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]  # (x W' + biases, h, c) -> (h, c)


@operator("RNN", "GRU")
def rnn(
    call: Call,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    initial_h: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """x (steps, batch, in), w (directions, gates * h, in), r (directions, gates * h, h), b (directions,
    2 * gates * h) -> (y (steps, directions, batch, h), the last h (directions, batch, h))"""
    return _recurrent(call, x, w, r, b, lengths, initial_h, None, None)[:2]


@operator("LSTM")
def lstm(
    call: Call,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    initial_h: Tensor | None = None,
    initial_c: Tensor | None = None,
    peepholes: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """As `rnn`, with the last c (directions, batch, h); peepholes (directions, 3 * h)."""
    return _recurrent(call, x, w, r, b, lengths, initial_h, initial_c, peepholes)


def _recurrent(
    call: Call,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None,
    lengths: Tensor | None,
    initial_h: Tensor | None,
    initial_c: Tensor | None,
    peepholes: Tensor | None,
) -> tuple[Tensor, ...]:
    batch_first = bool(call.get("layout", 0))
    if batch_first:
        x = x.transpose(0, 1)
        initial_h = None if initial_h is None else initial_h.transpose(0, 1)
        initial_c = None if initial_c is None else initial_c.transpose(0, 1)
    steps, batch, _ = x.shape
    directions, size = w.shape[0], r.shape[2]
    if b is None:
        b = w.new_zeros(directions, 2 * _GATES[call.op_type] * size)
    running = None if lengths is None else torch.arange(steps, device=x.device)[:, None] < lengths[None, :]
    outputs, last_h, last_c = [], [], []
    for d in range(directions):
        zeros = x.new_zeros(batch, size)
        h = zeros if initial_h is None else initial_h[d]
        c = zeros if initial_c is None else initial_c[d]
        cell = _cell(call, d, size, r[d], b[d], None if peepholes is None else peepholes[d])
        inputs = x @ w[d].T  # (steps, batch, gates * h)
        backwards = call.get("direction", "forward") == "reverse" or d == 1
        y: list[Tensor] = [zeros] * steps
        for step in reversed(range(steps)) if backwards else range(steps):
            new_h, new_c = cell(inputs[step], h, c)
            if running is not None:
                on = running[step][:, None]
                y[step] = torch.where(on, new_h, zeros)
                new_h, new_c = torch.where(on, new_h, h), torch.where(on, new_c, c)
            else:
                y[step] = new_h
            h, c = new_h, new_c
        outputs.append(torch.stack(y))
        last_h.append(h)
        last_c.append(c)
    y_all = torch.stack(outputs, dim=1)  # (steps, directions, batch, h)
    states = [torch.stack(last_h), torch.stack(last_c)]
    if batch_first:
        return y_all.permute(2, 0, 1, 3), *(state.transpose(0, 1) for state in states)
    return y_all, *states


def _cell(call: Call, direction: int, size: int, r: Tensor, b: Tensor, peepholes: Tensor | None) -> _Cell:
    functions = _functions(call, direction)
    of_input, of_state = b[: r.shape[0]], b[r.shape[0] :]
    clip = call.get("clip")

    def bounded(value: Tensor) -> Tensor:
        return value if clip is None else value.clamp(-clip, clip)

    def plain(x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        return functions[0](bounded(x + h @ r.T + of_input + of_state)), c

    def gated(x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        inputs, new_in = torch.split(x + of_input, [2 * size, size], dim=1)
        both = functions[0](bounded(inputs + h @ r[: 2 * size].T + of_state[: 2 * size]))
        z, reset = torch.split(both, size, dim=1)
        if call.get("linear_before_reset", 0):
            new = new_in + reset * (h @ r[2 * size :].T + of_state[2 * size :])
        else:
            new = new_in + (reset * h) @ r[2 * size :].T + of_state[2 * size :]
        return (1 - z) * functions[1](bounded(new)) + z * h, c

    def long_short(x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, o, f, g = torch.split(x + h @ r.T + of_input + of_state, size, dim=1)
        p_i, p_o, p_f = [0.0] * 3 if peepholes is None else torch.split(peepholes, size)
        i, f = functions[0](bounded(i + p_i * c)), functions[0](bounded(f + p_f * c))
        new_c = f * c + i * functions[1](bounded(g))
        o = functions[0](bounded(o + p_o * new_c))
        return o * functions[2](new_c), new_c

    return {"RNN": plain, "GRU": gated, "LSTM": long_short}[call.op_type]


def _functions(call: Call, direction: int) -> Sequence[Callable[[Tensor], Tensor]]:
    defaults = _DEFAULT[call.op_type]
    names = call.get("activations") or defaults * 2
    names = [n.decode() if isinstance(n, bytes) else str(n) for n in names]
    names = names[direction * len(defaults) : (direction + 1) * len(defaults)]
    unknown = [name for name in names if name.lower() not in _ACTIVATIONS]
    if unknown or call.get("input_forget", 0):
        what = f"with the activation {unknown[0]}" if unknown else "with coupled gates (input_forget)"
        raise GraphError(f"{call.op_type} {what} cannot be trained; Sigmoid, Tanh and Relu can.")
    return [_ACTIVATIONS[name.lower()] for name in names]
