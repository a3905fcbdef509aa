package main

//go:generate buf generate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	tokenv1 "github.com/ask2do/ask2do-token/tests/callers/go/gen/ask2do/token/v1"
)

// core: begin
const serviceConfig = `{"loadBalancingConfig": [{"round_robin": {}}],
	"methodConfig": [{"name": [{"service": "ask2do.token.v1.TokenService"}], "retryPolicy": {
		"maxAttempts": 5, "initialBackoff": "0.2s", "maxBackoff": "1s", "backoffMultiplier": 2,
		"retryableStatusCodes": ["UNAVAILABLE"]}}]}`

func dial(endpoint, caFile, certFile, keyFile string) (*grpc.ClientConn, error) {
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS13}
	config.RootCAs.AppendCertsFromPEM(ca)
	if certFile != "" { // Read at each handshake: a renewed certificate needs no restart.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			identity, err := tls.LoadX509KeyPair(certFile, keyFile)
			return &identity, err
		}
	}
	alive := keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true}
	again := backoff.Config{BaseDelay: time.Second / 4, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second}
	return grpc.NewClient("dns:///"+endpoint, grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithDefaultServiceConfig(serviceConfig), grpc.WithDisableServiceConfig(), grpc.WithKeepaliveParams(alive),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: again, MinConnectTimeout: 5 * time.Second}), grpc.WithStatsHandler(otelgrpc.NewClientHandler()))
}

func mint(ctx context.Context, service tokenv1.TokenServiceClient, id, role string) (*tokenv1.MintTokenResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 6*time.Second)
	defer cancel()
	return service.MintToken(ctx, &tokenv1.MintTokenRequest{PanelUser: &tokenv1.PanelUser{Id: id, Role: role}})
}

// core: end
