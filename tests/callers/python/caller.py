"""Mints one token of the Ask2Do token service, and prints one line of JSON.

Exit codes: 0 a token; 1 a status of the call; 2 usage, or a local file; 3 the service was not
reached.
"""

import argparse
import json
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import grpc
from ask2do.token.v1 import token_service_pb2_grpc as pb_grpc

import service
import tracing
from failure import SERVICE_UNAVAILABLE, failure_of


def main() -> int:
    arguments = parse()
    tracing.start()
    try:
        ca, key, cert = files(arguments)
    except (OSError, ValueError) as error:
        print(f"caller: {error}", file=sys.stderr)
        return 2
    with service.dial(arguments.endpoint, ca, key, cert) as channel:
        stub = pb_grpc.TokenServiceStub(channel)
        return max((call(stub, panel_id, arguments.role) for panel_id in ids(arguments)), default=0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="caller", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("--endpoint", required=True, type=endpoint, metavar="HOST:PORT")
    parser.add_argument("--ca", required=True, type=Path, metavar="FILE")
    parser.add_argument("--cert", type=Path, metavar="FILE")
    parser.add_argument("--key", type=Path, metavar="FILE")
    parser.add_argument(
        "--id", required=True, type=text, help="- reads ids from standard input, one a line"
    )
    parser.add_argument("--role", required=True, type=text)
    arguments = parser.parse_args()
    if (arguments.cert is None) != (arguments.key is None):
        parser.error("--cert and --key go together")
    return arguments


def endpoint(value: str) -> str:
    at = urlsplit(f"//{value}")
    if not at.hostname or at.netloc != value or at.port == 0:
        raise ValueError(value)
    return value


def text(value: str) -> str:
    value.encode()  # fails on what is not UTF-8
    return value


def files(arguments: argparse.Namespace) -> tuple[bytes, bytes | None, bytes | None]:
    """Their content. gRPC would find only at each handshake that it is no good."""
    ca = arguments.ca.read_bytes()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=ca.decode())
    if arguments.cert is None:
        return ca, None, None
    context.load_cert_chain(arguments.cert, arguments.key, password=lambda: "")
    return ca, arguments.key.read_bytes(), arguments.cert.read_bytes()


def ids(arguments: argparse.Namespace) -> Iterator[str]:
    if arguments.id != "-":
        yield arguments.id
        return
    for line in sys.stdin:
        yield line.rstrip("\n")


def call(stub: pb_grpc.TokenServiceStub, panel_id: str, role: str) -> int:
    """Makes one call, prints its line, and gives its exit code."""
    try:
        token = service.mint(stub, panel_id, role)
    except grpc.RpcError as error:
        print(f"caller: {error.code().name}: {error.details()}", file=sys.stderr)
        failure = failure_of(error)
        print(json.dumps(failure), flush=True)
        return 3 if failure["reason"] == SERVICE_UNAVAILABLE else 1
    expires_at = token.expires_at.ToJsonString()
    print(json.dumps({"ok": True, "token": token.token, "expiresAt": expires_at}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
