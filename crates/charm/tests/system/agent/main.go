// The connection of Parca Agent, unmodified, with its flags: sends a request that an agent once made (the file that
// AGENT_REQUEST names) and prints how it ended, as the name of a gRPC status.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/parca-dev/parca-agent/flags"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc/status"
)

const method = "/parca.profilestore.v1alpha1.ProfileStoreService/WriteArrow"

// A message as it is on the wire, for the agent's codec.
type message []byte

func (m *message) MarshalVT() ([]byte, error) { return *m, nil }

func (m *message) UnmarshalVT(data []byte) error {
	*m = append((*m)[:0], data...)
	return nil
}

func main() {
	if err := send(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func send() error {
	given, err := flags.Parse()
	if err != nil {
		return err
	}
	recorded, err := os.ReadFile(os.Getenv("AGENT_REQUEST"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	connection, err := given.RemoteStore.WaitGrpcEndpoint(ctx, prometheus.NewRegistry(), noop.NewTracerProvider())
	if err != nil {
		return err
	}
	defer connection.Close()
	request, answer := message(recorded), message{}
	fmt.Println(status.Code(connection.Invoke(ctx, method, &request, &answer)))
	return nil
}
