"""Generate the protobuf and gRPC stubs from proto/ into raftgossip/wire/pb; with --check, fail if they are stale.

Example: python scripts/genproto.py --check
"""

from __future__ import annotations

import argparse
import filecmp
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path("raftgossip/wire/pb")
NAMES = ("grpc_comm_manager_pb2.py", "grpc_comm_manager_pb2.pyi", "grpc_comm_manager_pb2_grpc.py")


def generate(output_root: Path) -> None:
    """Write the stubs under `output_root`; they import each other under their package path."""
    arguments = [
        "protoc",
        f"-I{PACKAGE}={ROOT / 'proto'}",
        f"--python_out={output_root}",
        f"--pyi_out={output_root}",
        f"--grpc_python_out={output_root}",
        str(PACKAGE / "grpc_comm_manager.proto"),
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc failed; see its message above")


def main() -> int:
    """Generate, or compare with what is committed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the committed stubs are stale")
    arguments = parser.parse_args()
    if not arguments.check:
        generate(ROOT)
        return 0
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / PACKAGE).mkdir(parents=True)
        generate(Path(directory))
        fresh = Path(directory) / PACKAGE
        stale = [name for name in NAMES if not filecmp.cmp(fresh / name, ROOT / PACKAGE / name, shallow=False)]
    if stale:
        print(f"stale stubs: {', '.join(stale)}; run: python scripts/genproto.py")
        return 1
    print("stubs are fresh")
    return 0


if __name__ == "__main__":
    sys.exit(main())
