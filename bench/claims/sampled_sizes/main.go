// Command sampled_sizes: which objects the heap profile samples. A size s is
// sampled with probability 1-exp(-s/rate) (runtime.nextSample draws the distance
// to the next sample from an exponential distribution).
package main

import (
	"math"
	"runtime"

	"heaptide.dev/bench/claims/report"
)

const rate = 512 * 1024

var sink []byte

//go:noinline
func small(n int) {
	for i := 0; i < n; i++ {
		sink = make([]byte, 64)
	}
}

//go:noinline
func middle(n int) {
	for i := 0; i < n; i++ {
		sink = make([]byte, 1024)
	}
}

//go:noinline
func large(n int) {
	for i := 0; i < n; i++ {
		sink = make([]byte, rate)
	}
}

func main() {
	runtime.MemProfileRate = rate
	const smalls, middles, larges = 8_000_000, 1_000_000, 2_000
	small(smalls)
	middle(middles)
	large(larges)
	report.Publish()
	s, m, l := report.ProfileOf("main.small"), report.ProfileOf("main.middle"), report.ProfileOf("main.large")
	probability := func(size float64) float64 { return 1 - math.Exp(-size/rate) }
	share := func(site report.Site, of int) float64 { return 100 * float64(site.AllocObjects) / float64(of) }

	report.Claim("only-large-sampled", "2.1", "the heap profile samples allocations of 512 KB and more; smaller ones are ignored",
		report.If(s.AllocObjects > 0 && m.AllocObjects > 0, report.False, report.True),
		"%d of %d objects of 64 B were sampled (expected %.0f), %d of %d of 1 KiB (expected %.0f)",
		s.AllocObjects, smalls, smalls*probability(64), m.AllocObjects, middles, middles*probability(1024))
	report.Claim("each-large-sampled", "2.1, 2.5", "an allocation that reaches the rate triggers exactly one sample",
		report.If(l.AllocObjects == larges, report.True, report.False),
		"%d of %d objects of 512 KiB were sampled: %.1f %%, expected %.1f %% (1-1/e)",
		l.AllocObjects, larges, share(l, larges), 100*probability(rate))
	// The article gives one figure; there is one for each size.
	near := func(site report.Site, of int, percent float64) bool { return math.Abs(share(site, of)-percent) < 0.05 }
	report.Claim("coverage", "2.1", "the default profile covers about 0.2 % of allocations",
		report.If(near(s, smalls, 0.2) && near(l, larges, 0.2), report.True,
			report.If(near(m, middles, 0.2), report.Conditional, report.False)),
		"share of objects sampled: %.4f %% at 64 B, %.3f %% at 1 KiB, %.1f %% at 512 KiB; 0.2 %% is the share at 1 KiB",
		share(s, smalls), share(m, middles), share(l, larges))
	scaled := float64(s.AllocObjects) / probability(64)
	report.Claim("small-unknowable", "2.1", "what is not sampled is lost to the profile",
		report.If(math.Abs(scaled/smalls-1) < 0.25, report.False, report.True),
		"scaled by 1/(1-exp(-size/rate)) the samples of 64 B say %.0f objects; there were %d (one standard error: %.1f %%)",
		scaled, smalls, 100/math.Sqrt(float64(s.AllocObjects)))
}
