"""Vets a .pt2 archive (`torch.export.save`) from a stranger before torch sees it.

torch's own reader (2.13) would run code that such a file brings along: it unpickles weights, constants and
custom objects, falls back to an unrestricted `torch.load` for the sample inputs, passes shape expressions to
sympy's `sympify` (an `eval`), resolves operator names with `getattr` from the package `torch` down
(`torch.os.system`), and compiles Python source that holds the program's names and guards. So only what
follows is let through, written into a fresh zip file, so that two readers cannot see two contents:

    */archive_format, */archive_version, */byteorder, */.data/*     a few bytes each
    */models/NAME.json             names are identifiers, operators aten, prims, operator or math, shapes
                                   arithmetic; guards and metadata (stack traces) are emptied
    */data/weights/*               tensors as raw bytes; a config entry with use_pickle is refused
    */data/constants/*             the same; custom and opaque objects are refused
    */data/sample_inputs/NAME.pt   must load with `weights_only=True`
"""

from __future__ import annotations

import io
import json
import keyword
import re
import zipfile
from collections.abc import Iterator
from typing import Any

from edgepress_compression.errors import GraphError

MAX_MEMBERS = 20_000
MAX_JSON_BYTES = 256 * 2**20

_MEMBERS = re.compile(
    r"[^/]+/(archive_format|archive_version|byteorder|version|\.data/\w+|\.format_version|models/\w+\.json"
    r"|data/(weights|constants)/\w+(\.json)?|data/sample_inputs/\w+\.pt)"
)
_OPERATORS = re.compile(r"torch\.ops\.(aten|prims)\.\w+\.\w+|math\.[a-z0-9]+|torch\.sym_[a-z]+")
_PYTHON_OPERATORS = {"add", "sub", "mul", "truediv", "floordiv", "mod", "neg", "getitem"} | {
    "eq", "ne", "lt", "le", "gt", "ge"
}  # fmt: skip
_SYMBOL = re.compile(r"Symbol\('[a-z]\w*'(, (positive|integer|nonnegative)=True)*\)")
_TERM = re.compile(r"[A-Za-z]\w*")
_TERMS = {
    "Add",
    "Mul",
    "Max",
    "Min",
    "Integer",
    "Mod",
    "PythonMod",
    "FloorDiv",
    "CeilDiv",
    "CleanDiv",
    "True",
    "False",
}
_PUNCTUATION = re.compile(r"[A-Za-z0-9_+\-*/(),<>= ]*")
_PLAIN = re.compile(r"[\w.+\-]*")
_FREE_TEXT = {"as_string"}  # an argument: torch writes it as a quoted literal
_TREE_TYPES = {None, "builtins.tuple", "builtins.list", "builtins.dict"}


def vetted(data: bytes, *, max_bytes: int) -> bytes:
    """The same archive, rebuilt from its checked members. Raises GraphError naming what is not allowed."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _rebuild(archive, max_bytes)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        raise GraphError(
            f"The .pt2 file is damaged ({error}); save it again with torch.export.save."
        ) from None


def _rebuild(archive: zipfile.ZipFile, max_bytes: int) -> bytes:
    members = archive.infolist()
    names = [member.filename for member in members]
    if any(name.endswith("data.pkl") for name in names):
        raise GraphError(
            "This is a checkpoint of torch.save, which holds weights in a pickle and no graph. Export the "
            "program: "
            "torch.export.save(torch.export.export(model.eval(), (example,)), 'model.pt2')."
        )
    if not any("/models/" in name for name in names):
        raise GraphError("This zip file is no .pt2 program; save the model with torch.export.save.")
    if len(members) > MAX_MEMBERS or sum(member.file_size for member in members) > max_bytes:
        raise GraphError(f"The .pt2 file unpacks to more than the limit of {max_bytes:,} bytes.")
    if len(set(names)) != len(names) or len({name.split("/")[0] for name in names}) != 1:
        raise GraphError("The .pt2 file holds the same member twice; save it again with torch.export.save.")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as fresh:
        for member in members:
            name = member.filename
            if not _MEMBERS.fullmatch(name):
                raise GraphError(
                    f"The .pt2 file holds {name!r}, which a plain exported model does not have; save it "
                    "again with "
                    "torch.export.save and no extra files."
                )
            content = archive.read(member)
            if name.endswith(".json"):
                content = _vetted_json(name, content)
            elif name.endswith(".pt"):
                _check_sample_inputs(content)
            fresh.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def _vetted_json(name: str, content: bytes) -> bytes:
    if len(content) > MAX_JSON_BYTES:
        raise GraphError(f"The .pt2 file's {name} is larger than {MAX_JSON_BYTES:,} bytes.")
    try:
        document = json.loads(content)
        if "/models/" in name:
            _empty(document)
        pairs = list(_walk(document))
        for key, value in pairs:
            _check_entry(key, value)
    except (ValueError, RecursionError, AttributeError, TypeError):
        raise GraphError(
            f"The .pt2 file's {name} is damaged; save it again with torch.export.save."
        ) from None
    return json.dumps(document).encode()


def _empty(program: dict[str, Any]) -> None:
    """Removes what is not needed to run the program and would be compiled or resolved."""
    program["guards_code"] = []
    program["graph_module"]["metadata"] = {}
    program["graph_module"]["treespec_namedtuple_fields"] = {}
    for _, value in _walk(program):
        if isinstance(value, dict) and "target" in value and "metadata" in value:
            value["metadata"] = {}


def _check_entry(key: str, value: object) -> None:
    if key == "use_pickle" and value is not False:
        raise GraphError(
            "The .pt2 file holds a pickled tensor, which could run code; save contiguous CPU tensors."
        )
    if key == "path_name" and not re.fullmatch(r"(weight|tensor)_\d+", str(value)):
        raise GraphError("The .pt2 file holds a custom object, which could run code; export without it.")
    if not isinstance(value, str) or key in _FREE_TEXT:
        pass
    elif key == "expr_str":
        _check_expression(value)
    elif key in ("in_spec", "out_spec"):
        if any(k == "type" and v not in _TREE_TYPES for k, v in _walk(json.loads(value))):
            raise GraphError("The program takes or gives other than tensors in tuples, lists and dicts.")
    elif key == "target" and "." in value and not _allowed(value):
        raise GraphError(
            f"The program uses the operator {value}, which is none of torch's standard operators."
        )
    elif not _PLAIN.fullmatch(value) or (key == "name" and not _is_name(value)):
        raise GraphError(
            f"The program holds the name {value[:80]!r}; names are letters, digits and underscores."
        )
    if not _PLAIN.fullmatch(key):
        raise GraphError(
            f"The program holds the name {key[:80]!r}; names are letters, digits and underscores."
        )


def _is_name(value: str) -> bool:
    return value == "" or (value.isidentifier() and not keyword.iskeyword(value))


def _check_expression(text: str) -> None:
    """Arithmetic of symbols and small numbers, so that evaluating it ends and calls nothing else."""
    rest = _SYMBOL.sub("s0", text)
    terms = {term for term in _TERM.findall(rest) if not re.fullmatch(r"[suz]f?\d+", term)}
    if (
        len(text) > 1000 or "**" in rest or not _PUNCTUATION.fullmatch(rest) or "__" in rest
        or not terms <= _TERMS or re.search(r"\d{20}", rest)
    ):  # fmt: skip
        raise GraphError(
            f"The program holds the shape expression {text[:80]!r}, which is not plain arithmetic."
        )


def _allowed(target: str) -> bool:
    if target.startswith("_operator."):
        return target.removeprefix("_operator.") in _PYTHON_OPERATORS
    return _OPERATORS.fullmatch(target) is not None and "__" not in target


def _walk(value: object) -> Iterator[tuple[str, object]]:
    """Every (key, value) of the objects inside a JSON document; an item of a list goes by the list's key."""
    stack: list[tuple[str, object]] = [("", value)]
    while stack:
        key, item = stack.pop()
        yield key, item
        if isinstance(item, dict):
            stack.extend(item.items())
        elif isinstance(item, list):
            stack.extend((key, element) for element in item)


def _check_sample_inputs(content: bytes) -> None:
    import pickle
    import warnings

    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles of other versions
            torch.load(io.BytesIO(content), weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError, AttributeError):
        raise GraphError(
            "The .pt2 file's sample inputs are more than plain tensors, which could run code; export the "
            "model with "
            "tensors as example inputs."
        ) from None
