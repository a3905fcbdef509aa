package main

//go:generate protoc -I ../../../proto --go_out=gen --go_opt=paths=source_relative --go_opt=Mask2do/token/v1/token_service.proto=github.com/ask2do/ask2do-token/tests/callers/go/gen/ask2do/token/v1;tokenv1 --go-grpc_out=gen --go-grpc_opt=paths=source_relative --go-grpc_opt=Mask2do/token/v1/token_service.proto=github.com/ask2do/ask2do-token/tests/callers/go/gen/ask2do/token/v1;tokenv1 ask2do/token/v1/token_service.proto

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	tokenv1 "github.com/ask2do/ask2do-token/tests/callers/go/gen/ask2do/token/v1"
)

// Every address of the name takes its turn. UNAVAILABLE is tried again, unless the service says in
// its reply that it was reached (grpc-retry-pushback-ms: -1).
const serviceConfig = `{
	"loadBalancingConfig": [{"round_robin": {}}],
	"methodConfig": [{"name": [{"service": "ask2do.token.v1.TokenService"}], "retryPolicy": {
		"maxAttempts": 3, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
		"retryableStatusCodes": ["UNAVAILABLE"]}}]}`

// core: begin
func dial(endpoint, caFile, certFile, keyFile string) (*grpc.ClientConn, error) {
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s holds no certificate", caFile)
	}
	identity, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	return grpc.NewClient("dns:///"+endpoint,
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
			RootCAs: roots, Certificates: []tls.Certificate{identity}, MinVersion: tls.VersionTLS13})),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 5 * time.Second}),
		grpc.WithStatsHandler(otelgrpc.NewClientHandler()))
}

func mint(ctx context.Context, service tokenv1.TokenServiceClient, user *tokenv1.PanelUser) (*tokenv1.MintTokenResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 6*time.Second)
	defer cancel()
	return service.MintToken(ctx, &tokenv1.MintTokenRequest{PanelUser: user})
}

// core: end
