// Command drift: whether sampling at 512 KiB falls into step with the program
// and its collections, so that hot spots move to other places.
package main

import (
	"math"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"heaptide.dev/bench/claims/report"
)

const (
	rate   = 512 * 1024
	rounds = 4000
)

type node struct {
	next *node
	pad  []byte
}

var (
	a, b   []byte
	kept   *node
	global *node
)

//go:noinline
func allocateA(size int) { a = make([]byte, size) }

//go:noinline
func allocateB(size int) { b = make([]byte, size) }

// hot allocates just at the rate, writes a pointer (which the write barrier sees
// while a collection marks), and collects: the article's own experiment.
//
//go:noinline
func hot() {
	n := &node{pad: make([]byte, rate)}
	n.next, global = kept, n
	runtime.GC()
}

func main() {
	if os.Getenv("CLAIMS_CHILD") != "" {
		child()
		return
	}
	runtime.MemProfileRate = rate
	var said []string
	worst := 0.0
	for _, size := range []int{rate, rate / 2, rate / 8} {
		report.Publish()
		beforeA, beforeB := report.ProfileOf("main.allocateA"), report.ProfileOf("main.allocateB")
		for i := 0; i < rounds; i++ {
			allocateA(size)
			allocateB(size)
		}
		report.Publish()
		p := 1 - math.Exp(-float64(size)/rate)
		expected, deviation := rounds*p, math.Sqrt(rounds*p*(1-p))
		got := [2]int64{
			report.ProfileOf("main.allocateA").Minus(beforeA).AllocObjects,
			report.ProfileOf("main.allocateB").Minus(beforeB).AllocObjects,
		}
		for _, n := range got {
			worst = math.Max(worst, math.Abs(float64(n)-expected)/deviation)
		}
		said = append(said, strconv.Itoa(size>>10)+" KiB: "+strconv.FormatInt(got[0], 10)+" and "+strconv.FormatInt(got[1], 10)+
			" (expected "+strconv.FormatFloat(expected, 'f', 0, 64)+" ± "+strconv.FormatFloat(deviation, 'f', 0, 64)+")")
	}
	report.Claim("aliasing", "2.5", "sampling at the default rate falls into step with a program that allocates in multiples of it",
		report.If(worst < 5, report.False, report.True),
		"two sites in turns, %d objects each, sampled: %s; farthest from expectation: %.1f standard deviations. "+
			"The distance between samples is drawn anew from an exponential distribution each time",
		rounds, strings.Join(said, "; "), worst)

	const collected = 1000
	report.Publish()
	before := report.ProfileOf("main.hot")
	for i := 0; i < collected; i++ {
		hot()
	}
	report.Publish()
	sampled := report.ProfileOf("main.hot").Minus(before)
	// The object that holds the slice can be sampled too: once in 16,384.
	p := 1 - math.Exp(-1.0)
	expected, deviation := collected*p, math.Sqrt(collected*p*(1-p))
	off := math.Abs(float64(sampled.AllocObjects)-expected) / deviation
	report.Claim("gc-phase", "2.5", "with a collection between allocations, samples fall behind the write barrier and miss the hot spot",
		report.If(off < 5, report.False, report.True),
		"%d allocations of 512 KiB with runtime.GC() after each: %d sampled at their own site, expected %.0f ± %.0f",
		collected, sampled.AllocObjects, expected, deviation)
	barrier := report.ProfileOf("runtime.gcWriteBarrier").Records + report.ProfileOf("gcWriteBarrier").Records +
		report.ProfileOf("runtime.wbBufFlush").Records
	report.Claim("barrier-frames", "2.5", "hot spots then show as runtime.gcWriteBarrier",
		report.If(barrier == 0, report.False, report.True), "%d records of the heap profile have the write barrier on their stack", barrier)

	self, err := os.Executable()
	report.Must(err)
	run := exec.Command(self)
	run.Env = append(os.Environ(), "CLAIMS_CHILD=1", "GODEBUG=memprofilerate=512")
	out, err := run.Output()
	report.Must(err)
	report.Claim("rate-unit", "2.5", "memprofilerate=512 means 512 × 1024 bytes",
		report.If(strings.HasPrefix(string(out), "512 "), report.False, report.True),
		"GODEBUG=memprofilerate=512: MemProfileRate and samples in 1 MiB of 64 B objects: %s", strings.TrimSpace(string(out)))
}

func child() {
	for i := 0; i < 1<<20/64; i++ {
		allocateA(64)
	}
	report.Publish()
	tell(runtime.MemProfileRate, report.ProfileOf("main.allocateA").AllocObjects)
}

func tell(rate int, samples int64) {
	_, err := os.Stdout.WriteString(strconv.Itoa(rate) + " and " + strconv.FormatInt(samples, 10) + "\n")
	report.Must(err)
}
