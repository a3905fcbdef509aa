"""Mints one token of the Ask2Do token service, and prints one line of JSON.

Exit codes: 0 a token; 1 a status of the call; 2 usage, or a local file; 3 the service was not
reached.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import grpc
from opentelemetry import context, propagate, trace
from opentelemetry.instrumentation.grpc import GrpcInstrumentorClient
from opentelemetry.sdk.trace import TracerProvider

import service
from failure import SERVICE_UNAVAILABLE, failure_of


def main() -> int:
    arguments = parse()
    start_tracing()
    try:
        channel = service.dial(arguments.endpoint, arguments.ca, arguments.cert, arguments.key)
    except OSError as error:
        print(f"caller: {error}", file=sys.stderr)
        return 2
    with channel:
        try:
            token = service.mint(channel, arguments.id, arguments.role)
        except grpc.RpcError as error:
            failure = failure_of(error)
            print(json.dumps(failure))
            print(f"caller: {error.code().name}: {error.details()}", file=sys.stderr)
            return 3 if failure["reason"] == SERVICE_UNAVAILABLE else 1
    expires_at = token.expires_at.ToJsonString()
    print(json.dumps({"ok": True, "token": token.token, "expiresAt": expires_at}))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="caller", description=__doc__.splitlines()[0])
    parser.add_argument("--endpoint", required=True, metavar="HOST:PORT")
    for name in ("ca", "cert", "key"):
        parser.add_argument(f"--{name}", required=True, type=Path, metavar="FILE")
    parser.add_argument("--id", required=True)
    parser.add_argument("--role", required=True)
    return parser.parse_args()


def start_tracing() -> None:
    """Installs the SDK and continues the trace that the environment names, as middleware does.

    Given an exporter, the caller's own spans are seen too.
    """
    trace.set_tracer_provider(TracerProvider())
    GrpcInstrumentorClient().instrument()
    carrier = {"traceparent": os.environ.get("TRACEPARENT", "")}
    context.attach(propagate.extract(carrier))


if __name__ == "__main__":
    sys.exit(main())
