"""A folder under kernels/ becomes an Operation: the contract that every operation keeps.

    kernels/<operation>/
      baseline.py     the naive PyTorch function; the only file whose text a prompt may hold
      spec.py         SPEC: what it means to be right and fast
      experts.py      EXPERTS: adapters to human-written kernels, and tutorials (may be empty)
      contenders.py   CONTENDERS: what else is worth a column, such as torch's library call
      house.py        our own Triton kernel, under the same name and signature as the baseline
      recorded/       real model responses, one folder per prompt
      evaluations/    evaluations recorded on a named GPU

Does not cover operations whose result is not one tensor or a tuple of tensors.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.metadata
import importlib.util
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from tritonexp.errors import ConfigError, OperationError
from tritonexp.records import (
    Argument,
    Implementation,
    OperationBrief,
    Provenance,
    Role,
    Size,
)
from tritonexp.tutorials import Tutorial, implementation_of, private_paths

# a pair of a size ladder: rows and columns
LADDER_EXTENTS = 2

KERNELS_DIR = Path(__file__).resolve().parent.parent / "kernels"

ITEMSIZE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8, "int32": 4, "int64": 8}


@dataclass(frozen=True, kw_only=True)
class TensorArgument:
    """A tensor argument, by the axes that give its shape."""

    name: str
    shape: tuple[str, ...]
    # whether the case's distribution fills it; otherwise it is always drawn from a normal
    varied: bool = True
    # fills it where neither will do: (size, torch dtype, torch.Generator, device) -> tensor
    fill: Callable[[Size, Any, Any, str], Any] | None = None


@dataclass(frozen=True, kw_only=True)
class ScalarArgument:
    """An argument that is the same in every case."""

    name: str
    value: float | int | bool


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What it means to be right and fast."""

    title: str
    pattern: str  # fusion, stencil, reduction, tiling, elementwise, ...: chooses the hints
    axes: tuple[str, ...]
    arguments: tuple[TensorArgument | ScalarArgument, ...]
    outputs: tuple[tuple[str, ...], ...]  # the shape of each result, by axes
    dtypes: tuple[str, ...]  # all are verified
    timed_dtype: str
    # names known to evaluation.inputs; each is drawn at every size and dtype in turn
    distributions: tuple[str, ...]
    # a pair (rows, cols) of a size ladder -> the extents of the axes
    from_ladder: Callable[[int, int], tuple[int, ...]]
    # awkward sizes that are always verified; the smaller half of them also in the interpreter
    irregular: tuple[tuple[int, ...], ...]
    # sizes for the interpreter, where the study's own would take minutes
    interpreter: tuple[tuple[int, ...], ...]
    shapes: str  # one sentence for the prompt
    precision: str  # one sentence for the prompt
    max_extents: Mapping[str, int]  # the largest extent of each axis that must be served
    # floating point operations of a call, for the compute floor; None where memory always bounds
    flops: Callable[[Size], int] | None = None
    # bytes that a perfect call moves; None: every tensor argument and result once
    bytes_moved: Callable[[Size, int], int] | None = None
    # hidden sizes are no smaller along an axis: below it the problem itself is ill-conditioned
    min_hidden_extents: Mapping[str, int] = field(default_factory=dict)
    # error <= max(baseline_factor x the baseline's own, floor_ulp): see evaluation.correctness
    baseline_factor: float = 4.0
    # whoever adds many equal terms one after the other rounds the same way each time: 512 terms, as
    # in a thread of a float32 kernel of four warps on a row of 65,536 with many zeros, end 54 ulp
    # off, and 1,613 in each lane of torch's softmax on a CPU 162; both are honest. dtypes of 16
    # bits are held to less by evaluation.correctness
    floor_ulp: float = 256.0
    deterministic: bool = True
    # arguments that a call may change
    mutates: tuple[str, ...] = ()

    def size(self, extents: tuple[int, ...]) -> Size:
        """A Size of this operation; a pair is taken for (rows, cols) of a ladder."""
        if len(extents) == LADDER_EXTENTS != len(self.axes):
            extents = self.from_ladder(*extents)
        if len(extents) != len(self.axes) or any(extent < 1 for extent in extents):
            # where the axes are rows and cols, the pair is what was just said
            pair = "" if len(self.axes) == LADDER_EXTENTS else " or a pair rows, cols"
            raise ConfigError(
                f"size {list(extents)} does not fit: it takes {len(self.axes)} positive whole"
                f" numbers ({', '.join(self.axes)}){pair}; for example"
                " sizes.custom='[[1823,781]]'."
            )
        for axis, extent in zip(self.axes, extents, strict=True):
            if extent > self.max_extents[axis]:
                raise ConfigError(
                    f"size {'x'.join(map(str, extents))} has {axis}={extent}, beyond the largest"
                    f" that this operation must serve ({self.max_extents[axis]}); choose a"
                    " smaller one."
                )
        return Size(axes=self.axes, extents=extents)

    def shape_of(self, axes: tuple[str, ...], size: Size) -> tuple[int, ...]:
        """The extents of a tuple of axes at a size."""
        extents = size.as_dict()
        return tuple(extents[axis] for axis in axes)

    @property
    def tensors(self) -> tuple[TensorArgument, ...]:
        """The tensor arguments in order."""
        return tuple(arg for arg in self.arguments if isinstance(arg, TensorArgument))

    def call_bytes(self, size: Size, dtype: str) -> int:
        """Bytes of all tensor arguments and results of one call."""
        shapes = [argument.shape for argument in self.tensors] + list(self.outputs)
        return ITEMSIZE_BYTES[dtype] * sum(math.prod(self.shape_of(s, size)) for s in shapes)

    def floor_bytes(self, size: Size, dtype: str) -> int:
        """The least bytes of a call: its arguments read once, its results written once."""
        if self.bytes_moved is not None:
            return self.bytes_moved(size, ITEMSIZE_BYTES[dtype])
        return self.call_bytes(size, dtype)


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """A function of experts.py or contenders.py that calls a kernel of another package."""

    name: str  # the column's name: liger, torch
    function: str  # the function in this file that has the operation's signature
    package: str  # the distribution it comes from
    location: str  # module and object that does the work
    licence: str


@dataclass(frozen=True)
class Operation:
    """One folder under kernels/, loaded."""

    name: str
    folder: Path
    spec: Spec
    baseline: Implementation
    experts: tuple[Implementation, ...]  # those of packages, the default first, and a tutorial's
    contenders: tuple[Implementation, ...]  # torch's library call, our house kernel
    function: Callable[..., Any]  # the baseline, for the referee's float64 reference
    # text that no prompt may hold a line of: adapters, house kernel, and the experts' own modules
    guarded_sources: Mapping[str, str] = field(default_factory=dict)
    # experts that are read or downloaded when they are chosen: see with_expert
    tutorials: tuple[Tutorial, ...] = ()
    # files and folders that no candidate may read, beside the experts' packages
    private_paths: tuple[str, ...] = ()

    @property
    def entry_point(self) -> str:
        """The function's name, the same as the folder's."""
        return self.baseline.entry_point

    @property
    def brief(self) -> OperationBrief:
        """What a prompt may know."""
        spec = self.spec
        return OperationBrief(
            name=self.name,
            title=spec.title,
            pattern=spec.pattern,
            entry_point=self.entry_point,
            signature=signature_in(self.baseline.source, self.entry_point),
            baseline_source=self.baseline.source,
            arguments=tuple(_describe(argument) for argument in spec.arguments),
            result=" and ".join(f"tensor [{', '.join(axes)}]" for axes in spec.outputs),
            dtypes=spec.dtypes,
            shapes=spec.shapes,
            precision=spec.precision,
        )


def names(kernels_dir: Path = KERNELS_DIR) -> tuple[str, ...]:
    """The operations, by listing the directory."""
    # glob would say nothing of a folder that may not be read
    return tuple(
        sorted(path.name for path in kernels_dir.iterdir() if (path / "spec.py").is_file())
    )


def check_name(name: str, kernels_dir: Path = KERNELS_DIR) -> None:
    """Raise ConfigError for a name that is no operation's; loads nothing."""
    if name not in names(kernels_dir):
        raise ConfigError(
            f"there is no operation {name!r}; there are {', '.join(names(kernels_dir))}."
            f" A new one is a folder kernels/{name}/ and conf/operation/{name}.yaml."
        )


def load(name: str, kernels_dir: Path = KERNELS_DIR) -> Operation:
    """Load a folder; raises ConfigError for an unknown name, OperationError if it is broken."""
    check_name(name, kernels_dir)
    folder = kernels_dir / name
    for file in ("baseline.py", "experts.py", "contenders.py", "house.py"):
        if not (folder / file).is_file():
            raise OperationError(
                f"{folder / file} is missing; every operation has one (see"
                " tritonexp/operations.py)."
            )
    spec = _attribute(_load_module(folder / "spec.py"), "SPEC", Spec)
    baseline_source = (folder / "baseline.py").read_text()
    function = getattr(_load_module(folder / "baseline.py"), name, None)
    if function is None:
        raise OperationError(
            f"{folder / 'baseline.py'} defines no function {name!r}; the baseline carries"
            " the folder's name."
        )
    wanted, told = list(inspect.signature(function).parameters), [a.name for a in spec.arguments]
    if wanted != told:
        raise OperationError(
            f"{folder / 'spec.py'} lists the arguments {told}, but {name} takes {wanted};"
            " make them agree."
        )
    experts, expert_modules = _adapters(folder / "experts.py", "EXPERTS", Role.EXPERT)
    contenders, _ = _adapters(folder / "contenders.py", "CONTENDERS", Role.CONTENDER)
    listed = _attribute(_load_module(folder / "experts.py"), "EXPERTS", tuple)
    tutorials = tuple(item for item in listed if isinstance(item, Tutorial))
    house_source = (folder / "house.py").read_text()
    house = Implementation(
        name="house",
        role=Role.CONTENDER,
        source=house_source,
        entry_point=name,
        provenance=Provenance(
            origin="house",
            name="tritonexp",
            version=None,
            licence="MIT",
            location=f"kernels/{name}/house.py",
        ),
    )
    return Operation(
        name=name,
        folder=folder,
        spec=spec,
        baseline=Implementation(
            name="baseline",
            role=Role.BASELINE,
            source=baseline_source,
            entry_point=name,
            provenance=Provenance(
                origin="baseline",
                name="naive PyTorch",
                version=None,
                licence="MIT",
                location=f"kernels/{name}/baseline.py",
            ),
        ),
        experts=experts,
        contenders=(*contenders, house),
        function=function,
        guarded_sources={
            "house.py": house_source,
            "experts.py": (folder / "experts.py").read_text(),
            **expert_modules,
        },
        tutorials=tutorials,
        private_paths=private_paths(tutorial.file for tutorial in tutorials),
    )


def with_expert(operation: Operation, name: str, path: str | None = None) -> Operation:
    """The operation with the expert of a name among its experts, if that is a tutorial's.

    Other experts are there already, and an unknown one is left to who looks for it. Raises
    ConfigError for a path that is of no use, and ExpertError where the tutorial cannot be had.
    """
    tutorial = next((item for item in operation.tutorials if item.name == name), None)
    if tutorial is None:
        if path:
            raise ConfigError(
                f"expert.path={path} is of no use with expert={name} and operation"
                f" {operation.name}: only a tutorial's kernel is read from a file. Leave it out, or"
                " choose expert=tutorial where the operation has one."
            )
        return operation
    if any(item.name == name for item in operation.experts):
        return operation
    found, file = implementation_of(tutorial, operation.brief.signature, path)
    return dataclasses.replace(
        operation,
        experts=(*operation.experts, found),
        guarded_sources={**operation.guarded_sources, tutorial.file: found.source},
        private_paths=(*operation.private_paths, str(file)),
    )


def signature_in(source: str, function: str) -> str:
    """The signature of a function in a source text, on one line and without the colon."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
            return f"{function}({ast.unparse(node.args)}){returns}"
    raise OperationError(f"the source defines no function {function!r} at its top level.")


def _describe(argument: TensorArgument | ScalarArgument) -> Argument:
    if isinstance(argument, ScalarArgument):
        return Argument(name=argument.name, description=f"{type(argument.value).__name__}")
    return Argument(
        name=argument.name, description=f"tensor [{', '.join(argument.shape)}], contiguous"
    )


def _adapters(
    path: Path, listing: str, role: Role
) -> tuple[tuple[Implementation, ...], dict[str, str]]:
    """The implementations that a file of adapters lists, and the text of the modules they call."""
    source = path.read_text()
    found, modules = [], {}
    for adapter in _attribute(_load_module(path), listing, tuple):
        if isinstance(adapter, Tutorial):
            continue
        try:
            version = importlib.metadata.version(adapter.package)
        except importlib.metadata.PackageNotFoundError:
            version = None
        module = adapter.location.partition(":")[0]
        if role is Role.EXPERT and (text := _module_source(module)) is not None:
            modules[module] = text
        found.append(
            Implementation(
                name=adapter.name,
                role=role,
                source=source,
                entry_point=adapter.function,
                provenance=Provenance(
                    origin="package",
                    name=adapter.package,
                    version=version,
                    licence=adapter.licence,
                    location=adapter.location,
                ),
            )
        )
    return tuple(found), modules


def _module_source(module: str) -> str | None:
    # found without importing it: an expert's package may need a GPU to import
    try:
        origin = importlib.util.find_spec(module.partition(".")[0])
    except ImportError:
        return None
    if origin is None or not origin.submodule_search_locations:
        return None
    path = Path(origin.submodule_search_locations[0], *module.split(".")[1:]).with_suffix(".py")
    return path.read_text() if path.is_file() else None


def _load_module(path: Path) -> ModuleType:
    name = f"kernels_{path.parent.name}_{path.stem}"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise OperationError(f"{path} is no Python file.")
    module = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except Exception as error:
        raise OperationError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    return module


def _attribute(module: ModuleType, name: str, kind: type) -> Any:
    value = getattr(module, name, None)
    if not isinstance(value, kind):
        raise OperationError(
            f"{module.__file__} must define {name}, a {kind.__name__}; it holds {value!r}."
        )
    return value
