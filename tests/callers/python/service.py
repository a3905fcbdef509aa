"""The service, as this backend calls it."""

import json

import grpc
from ask2do.token.v1 import token_service_pb2 as pb
from ask2do.token.v1 import token_service_pb2_grpc as pb_grpc

# core: begin
SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [{
        "name": [{"service": "ask2do.token.v1.TokenService"}],
        "retryPolicy": {"maxAttempts": 5, "initialBackoff": "0.2s", "maxBackoff": "1s",
                        "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]},
    }],
}  # fmt: skip
OPTIONS = [
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    ("grpc.initial_reconnect_backoff_ms", 250),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.min_reconnect_backoff_ms", 5_000),  # the time that connecting may take
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
]


def dial(endpoint: str, ca: bytes, key: bytes | None, certificate: bytes | None) -> grpc.Channel:
    credentials = grpc.ssl_channel_credentials(ca, key, certificate)
    return grpc.secure_channel(f"dns:///{endpoint}", credentials, OPTIONS)


def mint(service: pb_grpc.TokenServiceStub, panel_id: str, role: str) -> pb.MintTokenResponse:
    request = pb.MintTokenRequest(panel_user=pb.PanelUser(id=panel_id, role=role))
    return service.MintToken(request, timeout=6)


# core: end
