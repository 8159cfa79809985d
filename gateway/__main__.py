"""`python -m gateway`: runs the gateway until it is told to stop."""

from __future__ import annotations

import sys

from gateway.grpc_gateway_server import main

if __name__ == "__main__":
    sys.exit(main())
