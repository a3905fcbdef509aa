// Command caller mints one token of the Ask2Do token service, and prints one line of JSON.
//
// Exit codes: 0 a token; 1 a status of the call; 2 usage, or a local file; 3 the service was not reached.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"iter"
	"net/url"
	"os"
	"strconv"
	"unicode/utf8"

	tokenv1 "github.com/ask2do/ask2do-token/tests/callers/go/gen/ask2do/token/v1"
)

const (
	exitStatus      = 1
	exitUsage       = 2
	exitUnavailable = 3
)

type options struct {
	endpoint, ca, cert, key, id, role string
}

func main() {
	options, err := parse()
	if err != nil {
		fmt.Fprintln(os.Stderr, "caller:", err)
		os.Exit(exitUsage)
	}
	os.Exit(run(options))
}

func parse() (options, error) {
	var o options
	flag.StringVar(&o.endpoint, "endpoint", "", "the service, `HOST:PORT`")
	flag.StringVar(&o.ca, "ca", "", "CA certificates that the service is verified by, a PEM `file`")
	flag.StringVar(&o.cert, "cert", "", "this caller's certificate, a PEM `file`")
	flag.StringVar(&o.key, "key", "", "its private key, a PEM `file`")
	flag.StringVar(&o.id, "id", "", "the panel user's id; - reads ids from standard input, one a line")
	flag.StringVar(&o.role, "role", "", "the panel user's role")
	flag.Parse() // exits with 2 on a flag that it does not know

	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for _, name := range []string{"endpoint", "ca", "id", "role"} {
		if !given[name] {
			return o, fmt.Errorf("--%s is required", name)
		}
	}
	if flag.NArg() > 0 || given["cert"] != given["key"] {
		return o, errors.New("--cert and --key go together, and nothing comes after the options")
	}
	if !isEndpoint(o.endpoint) {
		return o, fmt.Errorf("--endpoint %q is no HOST:PORT", o.endpoint)
	}
	if !utf8.ValidString(o.id) || !utf8.ValidString(o.role) {
		return o, errors.New("--id and --role must be UTF-8")
	}
	return o, o.checkFiles()
}

func isEndpoint(endpoint string) bool {
	at, err := url.Parse("https://" + endpoint)
	if err != nil || at.Host != endpoint || at.Hostname() == "" {
		return false
	}
	_, err = strconv.ParseUint(at.Port(), 10, 16)
	return err == nil || at.Port() == ""
}

// checkFiles finds at once what would otherwise fail each handshake.
func (o options) checkFiles() error {
	ca, err := os.ReadFile(o.ca)
	if err != nil {
		return err
	}
	if !x509.NewCertPool().AppendCertsFromPEM(ca) {
		return fmt.Errorf("%s holds no certificate", o.ca)
	}
	if o.cert != "" {
		_, err = tls.LoadX509KeyPair(o.cert, o.key)
	}
	return err
}

func run(o options) (exit int) {
	ctx, stop := startTracing()
	defer stop()
	connection, err := dial(o.endpoint, o.ca, o.cert, o.key)
	if err != nil {
		fmt.Fprintln(os.Stderr, "caller:", err)
		return exitUsage
	}
	defer connection.Close()
	service := tokenv1.NewTokenServiceClient(connection)
	for id := range o.ids() {
		exit = max(exit, call(ctx, service, id, o.role))
	}
	return exit
}

func (o options) ids() iter.Seq[string] {
	return func(yield func(string) bool) {
		if o.id != "-" {
			yield(o.id)
			return
		}
		for lines := bufio.NewScanner(os.Stdin); lines.Scan() && yield(lines.Text()); {
		}
	}
}

func call(ctx context.Context, service tokenv1.TokenServiceClient, id, role string) int {
	token, err := mint(ctx, service, id, role)
	if err != nil {
		fmt.Fprintln(os.Stderr, "caller:", err)
		failure := failureOf(err)
		print(failure)
		if failure.Reason == serviceUnavailable {
			return exitUnavailable
		}
		return exitStatus
	}
	print(struct {
		OK        bool   `json:"ok"`
		Token     string `json:"token"`
		ExpiresAt string `json:"expiresAt"`
	}{true, token.GetToken(), token.GetExpiresAt().AsTime().Format("2006-01-02T15:04:05.000Z07:00")})
	return 0
}

func print(line any) {
	_ = json.NewEncoder(os.Stdout).Encode(line)
}
