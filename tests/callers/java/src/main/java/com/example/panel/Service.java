package com.example.panel;

import com.ask2do.token.v1.MintTokenRequest;
import com.ask2do.token.v1.MintTokenResponse;
import com.ask2do.token.v1.PanelUser;
import com.ask2do.token.v1.TokenServiceGrpc;
import com.google.gson.Gson;
import com.google.gson.reflect.TypeToken;
import io.grpc.ClientInterceptor;
import io.grpc.ConnectivityState;
import io.grpc.Grpc;
import io.grpc.ManagedChannel;
import io.grpc.TlsChannelCredentials;
import java.io.File;
import java.io.IOException;
import java.util.concurrent.TimeUnit;

/** The service, as this backend calls it. */
final class Service {
  // core: begin
  private static final String SERVICE_CONFIG =
      """
      {"loadBalancingConfig": [{"round_robin": {}}],
       "methodConfig": [{"name": [{"service": "ask2do.token.v1.TokenService"}], "retryPolicy": {
         "maxAttempts": 5, "initialBackoff": "0.2s", "maxBackoff": "1s", "backoffMultiplier": 2,
         "retryableStatusCodes": ["UNAVAILABLE"]}}]}""";

  static ManagedChannel dial(
      String endpoint, File ca, File cert, File key, ClientInterceptor tracing) throws IOException {
    var credentials = TlsChannelCredentials.newBuilder().trustManager(ca);
    if (cert != null) credentials.keyManager(cert, key);
    return Grpc.newChannelBuilder(endpoint, credentials.build())
        .defaultServiceConfig(new Gson().fromJson(SERVICE_CONFIG, new TypeToken<>() {}))
        .keepAliveTime(20, TimeUnit.SECONDS)
        .keepAliveTimeout(5, TimeUnit.SECONDS)
        .keepAliveWithoutCalls(true)
        .intercept(tracing)
        .build();
  }

  static MintTokenResponse mint(ManagedChannel channel, String id, String role) {
    if (channel.getState(false) == ConnectivityState.TRANSIENT_FAILURE) {
      channel.resetConnectBackoff(); // Else it may pause for two minutes, the service back or not.
    }
    var user = PanelUser.newBuilder().setId(id).setRole(role);
    return TokenServiceGrpc.newBlockingStub(channel)
        .withDeadlineAfter(6, TimeUnit.SECONDS)
        .mintToken(MintTokenRequest.newBuilder().setPanelUser(user).build());
  }

  // core: end

  private Service() {}
}
