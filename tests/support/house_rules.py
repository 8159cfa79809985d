"""The rules of the house as functions from parsed modules to offenders; tests/test_architecture.py applies them.

A rule gets one `Module` (or all of them) and yields lines such as `raftgossip/ids.py:7 imports torch`, so that the same
function judges the house and the small bad samples that show that it can fail.
"""

from __future__ import annotations

import ast
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from graphlib import CycleError, TopologicalSorter
from io import StringIO

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_HOUSE_LINES = 34_500
FOLDER_CEILINGS = {
    "raftgossip": 500,  # the vocabulary: the files that lie directly in the package
    "raftgossip/core": 4_450,
    "raftgossip/core/raft": 2_750,
    "raftgossip/core/gossip": 900,
    "raftgossip/core/epoch": 1_500,
    "raftgossip/topology": 700,
    "raftgossip/trust": 2_250,
    "raftgossip/wire": 1_400,
    "raftgossip/runtime": 5_750,
    "raftgossip/learning": 4_000,
    "raftgossip/peer": 3_950,
    "raftgossip/sim": 2_350,
    "raftgossip/observe": 3_500,
    "raftgossip/edge": 1_500,
    "raftgossip/adapters": 800,
    "raftgossip/cli": 4_600,
    "gateway": 7_700,
}

VALUES = frozenset({"_version", "ids", "errors", "facts"})
VOCABULARY = VALUES | {"update"}
# What each package may import of raftgossip, beside itself.
ARROWS: dict[str, frozenset[str]] = {
    **dict.fromkeys(VALUES, VALUES),
    "__init__": frozenset({"_version"}),
    "update": VALUES,
    "core": VALUES,  # not update, which brings numpy
    "topology": VOCABULARY,
    "learning": VOCABULARY,
    "trust": VOCABULARY,
    "wire": VOCABULARY | {"core", "trust"},
    "runtime": VOCABULARY | {"core", "trust", "wire"},
    "observe": VOCABULARY,
    "peer": VOCABULARY | {"core", "topology", "learning", "trust", "wire", "runtime"},
    "sim": VOCABULARY | {"core", "topology", "learning"},
    "edge": VOCABULARY | {"wire", "peer"},
    "adapters": VOCABULARY | {"learning"},
    "gateway": frozenset({"_version", "ids", "errors", "trust", "wire"}),
}
ARROWS["cli"] = frozenset(ARROWS)  # everything, the gateway too

# The pure packages and all that they may import besides the standard library.
PURE = {
    **{package: frozenset[str]() for package in ("_version", "ids", "errors", "facts", "core")},
    "update": frozenset({"numpy"}),
    "topology": frozenset({"networkx", "numpy"}),
    "learning": frozenset({"numpy", "torch"}),
    "trust": frozenset({"cryptography"}),
}
GRPC_FILES = ("raftgossip/runtime/grpc_*.py", "raftgossip/runtime/exchange.py", "gateway/grpc_*.py")
OUTER = ("raftgossip/observe/*", "raftgossip/edge/*")
LIGHT_DOORS = {  # where a library may be imported; `*` matches folders too
    "torch": ("raftgossip/learning/*", "raftgossip/adapters/*"),
    "networkx": ("raftgossip/topology/*", "raftgossip/observe/*"),
    "cryptography": ("raftgossip/trust/*",),
    "grpc": (*GRPC_FILES, "raftgossip/wire/status.py", "raftgossip/wire/channels.py", "raftgossip/wire/pb/*"),
    "grpc_health": ("gateway/grpc_*.py",),
    "dns": ("raftgossip/runtime/address_sources.py",),
    "google": ("raftgossip/wire/*", "gateway/*"),
    # The stubs are protobuf too; beyond LAYOUT's letter, the gRPC files must name the messages that they send.
    "raftgossip.wire.pb": ("raftgossip/wire/*", "raftgossip/runtime/grpc_*.py", "gateway/*"),
}
HEAVY = ("fastapi", "uvicorn", "starlette", "sse_starlette", "prometheus_client", "pyarrow", "matplotlib", "plotly")
BROKERS = ("aiokafka", "confluent_kafka", "kafka", "aio_pika", "pika", "aiomqtt", "paho")
FOREIGN = ("flwr", "lightning", "pytorch_lightning", "transformers", "datasets", "sklearn")
LAZY_DOORS = {  # imported only when used, that is inside a function
    **dict.fromkeys((*HEAVY, *BROKERS), OUTER),
    "prometheus_client": (*OUTER, "gateway/metrics.py"),
    **dict.fromkeys(FOREIGN, ("raftgossip/adapters/*",)),
    "ray": ("raftgossip/sim/ray_engine.py",),
}

CLOCK_DOORS = ("raftgossip/runtime/clock.py", "gateway/clock.py")
FILE_DOORS = (
    "raftgossip/runtime/store.py",
    "raftgossip/runtime/model_store.py",
    "raftgossip/peer/config.py",
    "raftgossip/learning/tasks/*",
    "raftgossip/observe/*",
    "raftgossip/trust/disk.py",
    "raftgossip/runtime/address_sources.py",
    "gateway/registry_store.py",
    "gateway/settings.py",
)
FILE_METHODS = {
    *(
        "read_text",
        "write_text",
        "read_bytes",
        "write_bytes",
        "fdopen",
        "NamedTemporaryFile",
        "TemporaryFile",
        "mkstemp",
    ),
    *("load_file", "save_file", "fromfile", "tofile", "memmap", "savez", "savez_compressed", "savetxt", "loadtxt"),
}
FILE_FUNCTIONS = {"open", "os.open", "io.open", "sqlite3.connect", "numpy.load", "numpy.save", "shelve.open"}
RANDOM_VALUES = {"random.Random", "random.SystemRandom"}
NUMPY_RANDOM_VALUES = {"Generator", "default_rng", "SeedSequence", "BitGenerator", "PCG64", "Philox"}
TORCH_DRAWS = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson"}
TORCH_GLOBAL = {"manual_seed", "seed", "set_rng_state", "rand_like", "randn_like", "randint_like"}
UNSAFE_MODULES = {
    *(
        "pickle",
        "_pickle",
        "pickletools",
        "cPickle",
        "cloudpickle",
        "dill",
        "marshal",
        "shelve",
        "joblib",
        "jsonpickle",
    ),
    *("multiprocessing", "torch.multiprocessing"),  # its queues and pools unpickle what they receive
}
UNSAFE_NAMES = {
    *("eval", "exec", "builtins.eval", "builtins.exec", "torch.load", "torch.save", "torch.jit.load", "torch.package"),
    *("torch.hub.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "pandas.read_pickle"),
    *("concurrent.futures.ProcessPoolExecutor", "logging.config.listen", "logging.handlers.SocketHandler"),
}
VAGUE_NAMES = {"util", "utils", "common", "helper", "helpers", "misc"}


@dataclass(frozen=True, slots=True)
class Module:
    """One source file: its path from the repository's root with forward slashes, its text and its syntax tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """Its dotted name; a package's `__init__` has the package's."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def package(self) -> str:
        """Its row in ARROWS: the folder or file directly below raftgossip, or `gateway`, or the other top folder."""
        parts = self.path.removesuffix(".py").split("/")
        return parts[1] if parts[0] == "raftgossip" else parts[0]

    @property
    def is_ours(self) -> bool:
        """True for the two packages that users install; false for tests, scripts, benchmarks and examples."""
        return self.path.startswith(("raftgossip/", "gateway/"))


@dataclass(frozen=True, slots=True)
class Imported:
    """One imported thing, with its full dotted name: `from a.b import c` gives `a.b.c`."""

    line: int
    target: str
    is_top_level: bool

    def is_of(self, library: str) -> bool:
        """Whether it is that library or lies in it."""
        return self.target == library or self.target.startswith(library + ".")


def parse(path: str, text: str) -> Module:
    """Read one source text.

    Raises:
        SyntaxError: it is not Python.
    """
    return Module(path, text, ast.parse(text, path))


def imports(module: Module) -> Iterator[Imported]:
    """All absolute imports, those inside functions and those by `import_module("…")` too."""
    inner = {
        id(node)
        for function in ast.walk(module.tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    for node in ast.walk(module.tree):
        match node:
            case ast.Import(names=names):
                targets = [alias.name for alias in names]
            case ast.ImportFrom(module=str(source), names=names, level=0):
                targets = [f"{source}.{alias.name}" for alias in names]
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(source)), *_],
            ):
                targets = [source]
            case _:
                continue
        for target in targets:
            yield Imported(node.lineno, target, id(node) not in inner)


def used_names(module: Module) -> Iterator[tuple[ast.expr, str]]:
    """Every name and attribute chain that is read, in full: with `import numpy as np`, `np.load` is `numpy.load`."""
    homes: dict[str, str] = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            homes |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            homes |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name | ast.Attribute):
            yield node, _dotted(node, homes)


def _dotted(node: ast.expr, homes: Mapping[str, str]) -> str:
    """The chain's full name; what is computed (a call, an item) becomes an empty first part."""
    if isinstance(node, ast.Name):
        return homes.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, homes)}.{node.attr}"
    return ""


def calls(module: Module) -> Iterator[tuple[ast.Call, str]]:
    """Every call with the full name of what is called."""
    names = {id(node): name for node, name in used_names(module)}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and id(node.func) in names:
            yield node, names[id(node.func)]


def at_door(module: Module, doors: Iterable[str]) -> bool:
    """Whether the file is one of those named."""
    return any(fnmatch(module.path, door) for door in doors)


def forbidden_arrows(module: Module) -> Iterator[str]:
    """Imports of raftgossip and gateway that LAYOUT.md section 2 does not draw."""
    if not module.is_ours:
        return
    allowed = ARROWS.get(module.package, frozenset()) | {module.package}
    for imported in imports(module):
        root, _, rest = imported.target.partition(".")
        if root not in ("raftgossip", "gateway"):
            continue
        part = rest.partition(".")[0].replace("__version__", "_version")
        package = "gateway" if root == "gateway" else part or "__init__"
        if package not in allowed:
            yield f"{module.path}:{imported.line} imports {imported.target}: no arrow leads there"
        elif module.path.endswith("/__init__.py") and not imported.is_of(module.name):
            yield f"{module.path}:{imported.line} imports {imported.target}: an __init__ re-exports its own folder only"


def relative_imports(module: Module) -> Iterator[str]:
    """Imports that begin with a dot."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield f"{module.path}:{node.lineno} imports relatively"


def unconfined_libraries(module: Module) -> Iterator[str]:
    """Third-party imports outside the files that may have them."""
    if not module.is_ours:
        return
    pure = PURE.get(module.package)
    for imported in imports(module):
        library = imported.target.partition(".")[0]
        place = f"{module.path}:{imported.line} imports {imported.target}"
        is_foreign = library not in sys.stdlib_module_names and library not in ("raftgossip", "gateway")
        if pure is not None and is_foreign and library not in pure:
            yield f"{place}: {module.package} is pure"
        for door, files in (LIGHT_DOORS | LAZY_DOORS).items():
            if imported.is_of(door) and not at_door(module, files):
                yield f"{place}: only in {', '.join(files)}"
        if library in LAZY_DOORS and imported.is_top_level:
            yield f"{place}: only inside the function that uses it"


def import_cycles(modules: Iterable[Module]) -> Iterator[str]:
    """A ring of imports among the given modules, imports inside functions counted."""
    known = {module.name: module for module in modules}
    graph = {name: set[str]() for name in known}
    for name, module in known.items():
        for imported in imports(module):
            target = imported.target if imported.target in known else imported.target.rpartition(".")[0]
            if target in known and target != name:
                graph[name].add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield " <- ".join(error.args[1])


def oversized(module: Module) -> Iterator[str]:
    """Files and functions beyond their limits; a function counts from `def` to its last line."""
    if (num_lines := module.text.count("\n")) > MAX_FILE_LINES:
        yield f"{module.path} has {num_lines} lines"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            num_lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if num_lines > MAX_FUNCTION_LINES:
                yield f"{module.path}:{node.lineno} {node.name} has {num_lines} lines"


def crowded_folders(modules: Iterable[Module]) -> Iterator[str]:
    """Folders, and the whole house, beyond their ceilings."""
    sizes = {module.path: module.text.count("\n") for module in modules if module.is_ours}
    for folder, ceiling in FOLDER_CEILINGS.items():
        inside = (path for path in sizes if path.startswith(folder + "/"))
        num_lines = sum(sizes[path] for path in inside if folder != "raftgossip" or path.count("/") == 1)
        if num_lines > ceiling:
            yield f"{folder} has {num_lines} lines, at most {ceiling}"
    if (total := sum(sizes.values())) > MAX_HOUSE_LINES:
        yield f"the house has {total} lines, at most {MAX_HOUSE_LINES}"


def undocumented(module: Module) -> Iterator[str]:
    """Modules and public classes and functions without a docstring; a public class's public methods too."""
    if module.path.startswith("tests/"):
        return
    if not ast.get_docstring(module.tree):
        yield f"{module.path} has no docstring"
    open_scopes: list[ast.Module | ast.ClassDef] = [module.tree]
    while open_scopes:
        for node in open_scopes.pop().body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
                continue
            if not ast.get_docstring(node) and not _is_setter(node):
                yield f"{module.path}:{node.lineno} {node.name} has no docstring"
            if isinstance(node, ast.ClassDef):
                open_scopes.append(node)


def _is_setter(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """A property is described once, at its getter."""
    return any(isinstance(each, ast.Attribute) and each.attr == "setter" for each in node.decorator_list)


def vague_names(module: Module) -> Iterator[str]:
    """Modules and folders named after nothing."""
    if VAGUE_NAMES & set(module.path.removesuffix(".py").split("/")):
        yield f"{module.path} is named after nothing"


def hidden_imports(module: Module) -> Iterator[str]:
    """Imports for the type checker only, which hide a ring."""
    for node, name in used_names(module):
        if name.rpartition(".")[2] == "TYPE_CHECKING":
            yield f"{module.path}:{node.lineno} uses TYPE_CHECKING"


def orphaned_todos(module: Module) -> Iterator[str]:
    """TODO comments that name no issue."""
    for token in tokenize.generate_tokens(StringIO(module.text).readline):
        if token.type == tokenize.COMMENT and re.search(r"\b(TODO|FIXME|XXX)\b(?!.*#\d)", token.string):
            yield f"{module.path}:{token.start[0]} has a TODO without an issue number"


def clock_reads(module: Module) -> Iterator[str]:
    """Reads of a clock outside the two doors."""
    if not module.is_ours or at_door(module, CLOCK_DOORS):
        return
    for imported in imports(module):
        if imported.is_of("time") and imported.target not in ("time", "time.sleep"):
            yield f"{module.path}:{imported.line} imports {imported.target}"
    for node, name in used_names(module):
        if name.startswith("time.") and name != "time.sleep":
            yield f"{module.path}:{node.lineno} uses {name}"
    for node, name in calls(module):
        is_date = re.search(r"\b(datetime|date)\.(now|utcnow|today)$", name)
        is_loop_time = name.endswith(".time") and not node.args and not node.keywords and name != "time.time"
        if is_date or is_loop_time:
            yield f"{module.path}:{node.lineno} reads a clock: {name}"


def environment_reads(module: Module) -> Iterator[str]:
    """Uses of the environment outside cli."""
    if not module.is_ours or module.package == "cli":
        return
    for node, name in used_names(module):
        if name in ("os.environ", "os.environb", "os.getenv", "os.putenv"):
            yield f"{module.path}:{node.lineno} uses {name}"


def opened_files(module: Module) -> Iterator[str]:
    """Files opened outside the named ones."""
    if not module.is_ours or at_door(module, FILE_DOORS):
        return
    for node, name in calls(module):
        method = name.rpartition(".")[2] if "." in name else ""
        # `path.open()` and `path.open("wb")`, but not a method of ours that is called open and takes something else.
        is_path_open = method == "open" and all(isinstance(each, ast.Constant) for each in node.args)
        if name in FILE_FUNCTIONS or method in FILE_METHODS or is_path_open:
            yield f"{module.path}:{node.lineno} opens a file: {name}"


def shared_randomness(module: Module) -> Iterator[str]:
    """Draws from a generator that nobody passed in."""
    if not module.is_ours:
        return
    for node, name in used_names(module):
        family, _, member = name.rpartition(".")
        is_drawn = (
            (family == "random" and name not in RANDOM_VALUES)
            or (family == "numpy.random" and member not in NUMPY_RANDOM_VALUES)
            or (family in ("torch", "torch.random") and member in TORCH_GLOBAL)
        )
        if is_drawn:
            yield f"{module.path}:{node.lineno} uses shared randomness: {name}"
    for node, name in calls(module):
        family, _, member = name.rpartition(".")
        is_unseeded = name == "numpy.random.default_rng" and not node.args and not node.keywords
        is_torch_draw = family == "torch" and member in TORCH_DRAWS
        if is_unseeded or (is_torch_draw and all(keyword.arg != "generator" for keyword in node.keywords)):
            yield f"{module.path}:{node.lineno} draws without a generator: {name}"


def unsafe_deserialisation(module: Module) -> Iterator[str]:
    """Anything that turns bytes or text into code or arbitrary objects."""
    if module.path.startswith("tests/"):
        return
    for imported in imports(module):
        if any(imported.is_of(name) for name in UNSAFE_MODULES | UNSAFE_NAMES):
            yield f"{module.path}:{imported.line} imports {imported.target}"
    for node, name in used_names(module):
        if name in UNSAFE_NAMES or any(f"{name}.".startswith(f"{unsafe}.") for unsafe in UNSAFE_MODULES):
            yield f"{module.path}:{node.lineno} uses {name}"
    for node, name in calls(module):
        for keyword in node.keywords:
            is_false = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            if keyword.arg == "allow_pickle" and not is_false:
                yield f"{module.path}:{node.lineno} allows pickle in {name}"
