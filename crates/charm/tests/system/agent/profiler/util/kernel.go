// Package util stands in for what the agent's flags ask of its profiler.
package util

// GetCurrentKernelVersion is new enough for everything.
func GetCurrentKernelVersion() (major, minor, patch uint32, err error) { return 6, 0, 0, nil }
