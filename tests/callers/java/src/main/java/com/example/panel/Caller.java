package com.example.panel;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonObject;
import com.google.protobuf.util.Timestamps;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.URISyntaxException;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/**
 * Mints one token of the Ask2Do token service, and prints one line of JSON.
 *
 * <p>Exit codes: 0 a token; 1 a status of the call; 2 usage, or a local file; 3 the service was not
 * reached.
 */
@Command(
    name = "caller",
    description = "Mints one token of the Ask2Do token service.",
    mixinStandardHelpOptions = true)
final class Caller implements Callable<Integer> {
  private static final Gson GSON = new GsonBuilder().serializeNulls().create();

  @Spec private CommandSpec spec;

  @Option(names = "--endpoint", required = true, paramLabel = "HOST:PORT")
  private String endpoint;

  @Option(names = "--ca", required = true, paramLabel = "FILE")
  private File ca;

  @Option(names = "--cert", paramLabel = "FILE")
  private File cert;

  @Option(names = "--key", paramLabel = "FILE")
  private File key;

  @Option(
      names = "--id",
      required = true,
      description = "- reads ids from standard input, one a line")
  private String id;

  @Option(names = "--role", required = true)
  private String role;

  public static void main(String[] arguments) {
    System.exit(new CommandLine(new Caller()).execute(arguments));
  }

  @Override
  @SuppressWarnings("try") // the scope lasts as long as the calls
  public Integer call() throws Exception {
    checkUsage();
    try {
      PemFiles.check(ca, cert, key);
    } catch (GeneralSecurityException | IllegalArgumentException | IOException error) {
      System.err.println("caller: " + error.getMessage());
      return CommandLine.ExitCode.USAGE;
    }
    try (var tracing = new Tracing()) {
      var channel = Service.dial(endpoint, ca, cert, key, tracing.interceptor());
      try (var scope = tracing.continued();
          var ids = ids()) {
        return ids.mapToInt(each -> mint(channel, each)).max().orElse(0);
      } finally {
        channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
      }
    }
  }

  private void checkUsage() {
    if ((cert == null) != (key == null)) {
      throw new ParameterException(spec.commandLine(), "--cert and --key go together");
    }
    try {
      var at = new URI("https://" + endpoint);
      if (at.getHost() == null || !endpoint.equals(at.getRawAuthority()) || at.getPort() > 65535) {
        throw new URISyntaxException(endpoint, "no HOST:PORT");
      }
    } catch (URISyntaxException error) {
      throw new ParameterException(spec.commandLine(), "--endpoint: " + error.getMessage());
    }
  }

  private Stream<String> ids() {
    if (!id.equals("-")) {
      return Stream.of(id);
    }
    return new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8)).lines();
  }

  /** Makes one call, prints its line, and gives its exit code. */
  private int mint(ManagedChannel channel, String id) {
    try {
      var token = Service.mint(channel, id, role);
      var line = new JsonObject();
      line.addProperty("ok", true);
      line.addProperty("token", token.getToken());
      line.addProperty("expiresAt", Timestamps.toString(token.getExpiresAt()));
      System.out.println(line);
      return CommandLine.ExitCode.OK;
    } catch (StatusRuntimeException error) {
      // A failed handshake says why in the causes.
      for (Throwable cause = error; cause != null; cause = cause.getCause()) {
        System.err.println("caller: " + cause.getMessage());
      }
      Failure failure = Failure.of(error);
      System.out.println(GSON.toJson(failure));
      return failure.reason().equals(Failure.SERVICE_UNAVAILABLE) ? 3 : 1;
    }
  }
}
