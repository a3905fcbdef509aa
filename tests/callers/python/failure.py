"""What a failed call means."""

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

DOMAIN = "token.ask2do.com"
SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"

# Where the service said nothing: it was not reached, or this caller's own timer ended the call.
WITHOUT_DETAILS = {
    grpc.StatusCode.UNAVAILABLE: SERVICE_UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: "CLOUD_TIMEOUT",
}


def failure_of(error: grpc.RpcError) -> dict:
    """The failure as JSON: decide by `reason`, and by `code` where the reason is unknown."""
    code = error.code()
    failure = {
        "ok": False,
        "code": code.name,
        "reason": WITHOUT_DETAILS.get(code, "UNKNOWN"),
        "retryAfterSeconds": None,
        "fields": [],
    }
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        info = error_details_pb2.ErrorInfo()
        retry = error_details_pb2.RetryInfo()
        bad_request = error_details_pb2.BadRequest()
        if detail.Unpack(info) and info.domain == DOMAIN:
            failure["reason"] = info.reason
        elif detail.Unpack(retry):
            failure["retryAfterSeconds"] = retry.retry_delay.ToTimedelta().total_seconds()
        elif detail.Unpack(bad_request):
            failure["fields"] = [
                {"field": violation.field, "description": violation.description}
                for violation in bad_request.field_violations
            ]
    return failure
