// Package tracer stands in for what the agent's flags ask of its profiler.
package tracer

// ProbabilisticThresholdMax is the greatest threshold.
const ProbabilisticThresholdMax = 100
