module decima/agent

go 1.26.5

require (
	github.com/parca-dev/parca-agent v0.49.0
	github.com/prometheus/client_golang v1.22.0
	go.opentelemetry.io/otel/trace v1.44.0
	google.golang.org/grpc v1.81.1
)

// The profiler is not part of what is tested, and takes long to build: see the folder.
replace go.opentelemetry.io/ebpf-profiler => ./profiler
