// Command full_rate: what MemProfileRate = 1 costs. The ratio is a measurement of
// one run on one machine; the verdict rests on counts alone.
package main

import (
	"runtime"
	"time"

	"heaptide.dev/bench/claims/report"
)

const objects = 300_000

var sink []byte

//go:noinline
func allocate() {
	for i := 0; i < objects; i++ {
		sink = make([]byte, 64)
	}
}

func timed(rate int) time.Duration {
	runtime.MemProfileRate = rate
	best := time.Duration(1 << 62)
	for i := 0; i < 5; i++ {
		runtime.GC()
		begin := time.Now()
		allocate()
		if took := time.Since(begin); took < best {
			best = took
		}
	}
	return best
}

func main() {
	usual := timed(512 * 1024)
	report.Publish()
	before := report.ProfileOf("main.allocate")
	every := timed(1)
	report.Publish()
	taken := report.ProfileOf("main.allocate").Minus(before).AllocObjects
	report.Claim("rate-1-cost", "2.1", "MemProfileRate = 1 takes a stack at every allocation, and is dear",
		report.If(taken >= 5*objects, report.True, report.False),
		"%d stacks taken for %d allocations; %.0f ns an allocation instead of %.0f (best of five, this run)",
		taken, 5*objects, float64(every.Nanoseconds())/objects, float64(usual.Nanoseconds())/objects)
}
