package com.example.panel;

import com.google.gson.Gson;
import com.google.gson.JsonObject;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.util.Timestamps;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator;
import io.opentelemetry.context.Context;
import io.opentelemetry.context.propagation.ContextPropagators;
import io.opentelemetry.context.propagation.TextMapGetter;
import io.opentelemetry.instrumentation.grpc.v1_6.GrpcTelemetry;
import io.opentelemetry.sdk.OpenTelemetrySdk;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import java.io.File;
import java.io.IOException;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/**
 * Mints one token of the Ask2Do token service, and prints one line of JSON.
 *
 * <p>Exit codes: 0 a token; 1 a status of the call; 2 usage, or a local file; 3 the service was not
 * reached.
 */
final class Caller {
  private static final List<String> NAMES = List.of("endpoint", "ca", "cert", "key", "id", "role");

  public static void main(String[] arguments) throws Exception {
    System.exit(run(arguments));
  }

  private static int run(String[] arguments)
      throws InterruptedException, InvalidProtocolBufferException {
    ManagedChannel channel;
    Map<String, String> options;
    // Given an exporter, the caller's own spans are seen too.
    var telemetry =
        OpenTelemetrySdk.builder()
            .setTracerProvider(SdkTracerProvider.builder().build())
            .setPropagators(ContextPropagators.create(W3CTraceContextPropagator.getInstance()))
            .build();
    try {
      options = parse(arguments);
      channel =
          Service.dial(
              options.get("endpoint"),
              new File(options.get("ca")),
              new File(options.get("cert")),
              new File(options.get("key")),
              GrpcTelemetry.create(telemetry).newClientInterceptor());
    } catch (IllegalArgumentException | IOException error) {
      System.err.println("caller: " + error.getMessage());
      return 2;
    }
    try (var scope = continued(telemetry).makeCurrent()) {
      var token = Service.mint(channel, options.get("id"), options.get("role"));
      var line = new JsonObject();
      line.addProperty("ok", true);
      line.addProperty("token", token.getToken());
      line.addProperty("expiresAt", Timestamps.toString(token.getExpiresAt()));
      System.out.println(line);
      return 0;
    } catch (StatusRuntimeException error) {
      Failure failure = Failure.of(error);
      var line = new Gson().toJsonTree(failure).getAsJsonObject();
      line.addProperty("ok", false);
      System.out.println(line);
      System.err.println("caller: " + error.getMessage());
      return failure.reason().equals(Failure.SERVICE_UNAVAILABLE) ? 3 : 1;
    } finally {
      channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
    }
  }

  private static Map<String, String> parse(String[] arguments) {
    var options = new HashMap<String, String>();
    for (int at = 0; at < arguments.length; at += 2) {
      String name = arguments[at].replaceFirst("^--", "");
      if (!NAMES.contains(name) || at + 1 == arguments.length) {
        throw new IllegalArgumentException("not understood: " + arguments[at]);
      }
      options.put(name, arguments[at + 1]);
    }
    for (String name : NAMES) {
      if (!options.containsKey(name)) {
        throw new IllegalArgumentException("missing: --" + name);
      }
    }
    return options;
  }

  /** Continues the trace that the environment names, as middleware does from a request. */
  private static Context continued(OpenTelemetrySdk telemetry) {
    var getter =
        new TextMapGetter<Map<String, String>>() {
          @Override
          public Iterable<String> keys(Map<String, String> carrier) {
            return carrier.keySet();
          }

          @Override
          public String get(Map<String, String> carrier, String key) {
            return carrier.get(key);
          }
        };
    var carrier = Map.of("traceparent", System.getenv().getOrDefault("TRACEPARENT", ""));
    var propagator = telemetry.getPropagators().getTextMapPropagator();
    return propagator.extract(Context.root(), carrier, getter);
  }

  private Caller() {}
}
