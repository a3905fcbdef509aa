package com.example.panel;

import com.ask2do.token.v1.MintTokenRequest;
import com.ask2do.token.v1.MintTokenResponse;
import com.ask2do.token.v1.PanelUser;
import com.ask2do.token.v1.TokenServiceGrpc;
import io.grpc.ClientInterceptor;
import io.grpc.Grpc;
import io.grpc.ManagedChannel;
import io.grpc.TlsChannelCredentials;
import java.io.File;
import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** The service, as this backend calls it. */
final class Service {
  // core: begin
  // UNAVAILABLE is tried again, unless the service says in its reply that it was reached
  // (grpc-retry-pushback-ms: -1).
  private static final Map<String, ?> SERVICE_CONFIG =
      Map.of(
          "loadBalancingConfig", List.of(Map.of("round_robin", Map.of())),
          "methodConfig", List.of(Map.of(
              "name", List.of(Map.of("service", TokenServiceGrpc.SERVICE_NAME)),
              "retryPolicy", Map.of(
                  "maxAttempts", 3.0, "initialBackoff", "0.1s", "maxBackoff", "1s",
                  "backoffMultiplier", 2.0, "retryableStatusCodes", List.of("UNAVAILABLE")))));

  static ManagedChannel dial(
      String endpoint, File ca, File cert, File key, ClientInterceptor tracing) throws IOException {
    var credentials = TlsChannelCredentials.newBuilder().trustManager(ca).keyManager(cert, key);
    return Grpc.newChannelBuilder("dns:///" + endpoint, credentials.build())
        .defaultServiceConfig(SERVICE_CONFIG)
        .keepAliveTime(30, TimeUnit.SECONDS)
        .keepAliveTimeout(5, TimeUnit.SECONDS)
        .intercept(tracing)
        .build();
  }

  static MintTokenResponse mint(ManagedChannel channel, String id, String role) {
    var user = PanelUser.newBuilder().setId(id).setRole(role);
    return TokenServiceGrpc.newBlockingStub(channel).withDeadlineAfter(6, TimeUnit.SECONDS)
        .mintToken(MintTokenRequest.newBuilder().setPanelUser(user).build());
  }
  // core: end

  private Service() {}
}
