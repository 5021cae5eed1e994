// Command sampling_error: how far estimates of the heap profile scatter. The
// relative error of a sum over n samples is about 1/sqrt(n), whatever the platform.
package main

import (
	"math"
	"runtime"

	"heaptide.dev/bench/claims/report"
)

const (
	rate   = 512 * 1024
	size   = 64 * 1024
	rounds = 40
)

var sink []byte

//go:noinline
func allocate(n int) {
	for i := 0; i < n; i++ {
		sink = make([]byte, size)
	}
}

// scatter is the relative standard deviation of the sampled count over many rounds.
func scatter(objects int) (relative, samples float64) {
	report.Publish()
	last := report.ProfileOf("main.allocate").AllocObjects
	var sum, squares float64
	for i := 0; i < rounds; i++ {
		allocate(objects)
		report.Publish()
		now := report.ProfileOf("main.allocate").AllocObjects
		n := float64(now - last)
		last = now
		sum, squares = sum+n, squares+n*n
	}
	mean := sum / rounds
	return math.Sqrt(squares/rounds-mean*mean) / mean, mean
}

func main() {
	runtime.MemProfileRate = rate
	few, fewSamples := scatter(128)
	many, manySamples := scatter(8 << 10)
	report.Claim("within-5-percent", "1", "on Linux the counts of two heap profiles agree within 5 %",
		report.If(few < 0.05 && many < 0.05, report.True, report.If(many < 0.05, report.Conditional, report.False)),
		"relative standard deviation over %d rounds: %.1f %% with %.0f samples a round, %.1f %% with %.0f (1/sqrt(n): %.1f %%, %.1f %%)",
		rounds, 100*few, fewSamples, 100*many, manySamples, 100/math.Sqrt(fewSamples), 100/math.Sqrt(manySamples))
}
