// Command caller mints one token of the Ask2Do token service, and prints one line of JSON.
//
// Exit codes: 0 a token; 1 a status of the call; 2 usage, or a local file; 3 the service was not reached.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/trace"

	tokenv1 "github.com/ask2do/ask2do-token/tests/callers/go/gen/ask2do/token/v1"
)

const (
	exitStatus      = 1
	exitUsage       = 2
	exitUnavailable = 3
)

func main() {
	os.Exit(run())
}

func run() int {
	endpoint := flag.String("endpoint", "", "the service, `HOST:PORT`")
	ca := flag.String("ca", "", "CA certificates that the service is verified by, a PEM `file`")
	cert := flag.String("cert", "", "this caller's certificate, a PEM `file`")
	key := flag.String("key", "", "its private key, a PEM `file`")
	id := flag.String("id", "", "the panel user's id")
	role := flag.String("role", "", "the panel user's role")
	flag.Parse() // exits with 2 on a flag that it does not know
	if *endpoint == "" || *ca == "" || *cert == "" || *key == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "caller: --endpoint, --ca, --cert and --key are required")
		flag.Usage()
		return exitUsage
	}
	ctx, stop := startTracing()
	defer stop()
	connection, err := dial(*endpoint, *ca, *cert, *key)
	if err != nil {
		fmt.Fprintln(os.Stderr, "caller:", err)
		return exitUsage
	}
	defer connection.Close()

	user := &tokenv1.PanelUser{Id: *id, Role: *role}
	token, err := mint(ctx, tokenv1.NewTokenServiceClient(connection), user)
	if err != nil {
		failure := failureOf(err)
		print(failure)
		fmt.Fprintln(os.Stderr, "caller:", err)
		if failure.Reason == serviceUnavailable {
			return exitUnavailable
		}
		return exitStatus
	}
	print(struct {
		OK        bool   `json:"ok"`
		Token     string `json:"token"`
		ExpiresAt string `json:"expiresAt"`
	}{true, token.GetToken(), token.GetExpiresAt().AsTime().Format(time.RFC3339Nano)})
	return 0
}

// startTracing installs the SDK (give it an exporter, and the caller's own spans are seen too), and
// continues the trace that the environment names, as a web framework's middleware does from a request.
func startTracing() (context.Context, func()) {
	provider := trace.NewTracerProvider()
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(propagation.TraceContext{})
	carrier := propagation.MapCarrier{"traceparent": os.Getenv("TRACEPARENT")}
	ctx := otel.GetTextMapPropagator().Extract(context.Background(), carrier)
	return ctx, func() { _ = provider.Shutdown(context.Background()) }
}

func print(line any) {
	_ = json.NewEncoder(os.Stdout).Encode(line)
}
