"""The service, as this backend calls it."""

import json
from pathlib import Path

import grpc
from ask2do.token.v1 import token_service_pb2 as pb
from ask2do.token.v1 import token_service_pb2_grpc as pb_grpc

# core: begin
# Every address of the name takes its turn. UNAVAILABLE is tried again, unless the service says in
# its reply that it was reached (grpc-retry-pushback-ms: -1).
SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [{
        "name": [{"service": "ask2do.token.v1.TokenService"}],
        "retryPolicy": {"maxAttempts": 3, "initialBackoff": "0.1s", "maxBackoff": "1s",
                        "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]},
    }],
}  # fmt: skip


def dial(endpoint: str, ca: Path, cert: Path, key: Path) -> grpc.Channel:
    credentials = grpc.ssl_channel_credentials(
        ca.read_bytes(), private_key=key.read_bytes(), certificate_chain=cert.read_bytes()
    )
    options = [
        ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 5_000),
    ]
    return grpc.secure_channel(f"dns:///{endpoint}", credentials, options)


def mint(channel: grpc.Channel, panel_id: str, role: str) -> pb.MintTokenResponse:
    request = pb.MintTokenRequest(panel_user=pb.PanelUser(id=panel_id, role=role))
    return pb_grpc.TokenServiceStub(channel).MintToken(request, timeout=6)


# core: end
