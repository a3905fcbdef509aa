package com.example.panel;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.util.Durations;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.util.List;

/**
 * What a failed call means: decide by {@code reason}, and by {@code code} where the reason is
 * unknown.
 */
record Failure(
    boolean ok, Status.Code code, String reason, Double retryAfterSeconds, List<Field> fields) {
  /** What the service finds wrong with one field of the request. */
  record Field(String field, String description) {}

  static final String SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE";
  private static final String DOMAIN = "token.ask2do.com";

  static Failure of(StatusRuntimeException error) {
    try {
      return decode(error);
    } catch (InvalidProtocolBufferException notOurs) {
      Status.Code code = error.getStatus().getCode();
      return new Failure(false, code, withoutDetails(code), null, List.of());
    }
  }

  private static Failure decode(StatusRuntimeException error)
      throws InvalidProtocolBufferException {
    Status.Code code = error.getStatus().getCode();
    String reason = withoutDetails(code);
    Double retryAfterSeconds = null;
    List<Field> fields = List.of();
    var status = StatusProto.fromThrowable(error);
    for (Any detail : status == null ? List.<Any>of() : status.getDetailsList()) {
      if (detail.is(ErrorInfo.class)) {
        ErrorInfo info = detail.unpack(ErrorInfo.class);
        reason = info.getDomain().equals(DOMAIN) ? info.getReason() : reason;
      } else if (detail.is(RetryInfo.class)) {
        retryAfterSeconds =
            Durations.toMillis(detail.unpack(RetryInfo.class).getRetryDelay()) / 1000.0;
      } else if (detail.is(BadRequest.class)) {
        fields =
            detail.unpack(BadRequest.class).getFieldViolationsList().stream()
                .map(violation -> new Field(violation.getField(), violation.getDescription()))
                .toList();
      }
    }
    return new Failure(false, code, reason, retryAfterSeconds, fields);
  }

  /** The service said nothing: it was not reached, or this caller's own timer ended the call. */
  private static String withoutDetails(Status.Code code) {
    return switch (code) {
      case UNAVAILABLE -> SERVICE_UNAVAILABLE;
      case DEADLINE_EXCEEDED -> "CLOUD_TIMEOUT";
      default -> "UNKNOWN";
    };
  }
}
