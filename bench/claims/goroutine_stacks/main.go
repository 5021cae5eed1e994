// Command goroutine_stacks: what of goroutines and their stacks Go's own profiles show.
package main

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"

	"heaptide.dev/bench/claims/report"
)

const (
	goroutines = 500
	stackBytes = 64 << 10
)

var block = make(chan struct{})

// deep uses a stack of at least stackBytes, then parks at its depth.
//
//go:noinline
func deep(depth int, ready *sync.WaitGroup, park bool) byte {
	var frame [1024]byte
	if depth > 0 {
		return deep(depth-1, ready, park) + frame[depth%len(frame)]
	}
	if park {
		ready.Done()
		<-block
	}
	return frame[0]
}

//go:noinline
func leak(ready *sync.WaitGroup) {
	for i := 0; i < goroutines; i++ {
		ready.Add(1)
		go deep(stackBytes/1024, ready, true)
	}
}

//go:noinline
func leakShallow(ready *sync.WaitGroup) {
	for i := 0; i < goroutines; i++ {
		ready.Add(1)
		go func() {
			deep(stackBytes/1024, nil, false)
			ready.Done()
			<-block
		}()
	}
}

func main() {
	if os.Getenv("CLAIMS_CHILD") != "" {
		schedtraceChild()
		return
	}
	runtime.MemProfileRate = 1
	report.Still()
	report.Publish()
	all := report.ProfileOf("")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var ready sync.WaitGroup
	leak(&ready)
	ready.Wait()
	report.Publish()
	runtime.ReadMemStats(&after)
	heap := report.ProfileOf("").Minus(all)
	stacks := int64(after.StackInuse - before.StackInuse)
	report.Claim("stacks-in-heap-profile", "2.2", "memory of goroutine stacks can't be traced by pprof",
		report.If(stacks >= goroutines*stackBytes && heap.InUseBytes < stacks/10, report.True, report.False),
		"%d goroutines hold %.1f MB of stacks (MemStats.StackInuse, one sum); the heap profile, every allocation sampled, grew by %.2f MB",
		goroutines, float64(stacks)/1e6, float64(heap.InUseBytes)/1e6)
	report.Claim("stackalloc-frames", "2.2", "on Linux the profile has the call chain of g.stackalloc",
		report.If(report.ProfileOf("runtime.stackalloc").Records > 0, report.True, report.False),
		"%d records with runtime.stackalloc on the stack", report.ProfileOf("runtime.stackalloc").Records)

	var text bytes.Buffer
	report.Must(pprof.Lookup("goroutine").WriteTo(&text, 2))
	waiting := strings.Count(text.String(), "[chan receive")
	created := strings.Count(text.String(), "created by main.leak")
	report.Claim("goroutine-creator", "2.2", "where a leaked goroutine was created can't be found",
		report.If(created == goroutines, report.Conditional, report.True),
		"the goroutine profile (debug=2) names main.leak as creator of %d of %d and the state of %d; the creator's own callers it has not",
		created, goroutines, waiting)

	// A stack is copied to a smaller one by the collector if less than a quarter of it is used.
	runtime.ReadMemStats(&before)
	var shallow sync.WaitGroup
	leakShallow(&shallow)
	shallow.Wait()
	var grown runtime.MemStats
	runtime.ReadMemStats(&grown)
	for i := 0; i < 8; i++ {
		runtime.GC()
	}
	runtime.ReadMemStats(&after)
	grew, kept := int64(grown.StackInuse-before.StackInuse), int64(after.StackInuse)-int64(before.StackInuse)
	report.Claim("blocked-stack-kept", "2.2", "the stack of a goroutine that blocks for ever stays as it is",
		report.If(kept < grew/2, report.Conditional, report.True),
		"%d blocked goroutines that had used 64 KiB each: %.1f MB of stacks, %.1f MB after 8 collections, which shrink what is not in use; what is in use stays",
		goroutines, float64(grew)/1e6, float64(kept)/1e6)

	self, err := os.Executable()
	report.Must(err)
	child := exec.Command(self)
	child.Env = append(os.Environ(), "CLAIMS_CHILD=1", "GODEBUG=schedtrace=10")
	out, err := child.CombinedOutput()
	report.Must(err)
	lines, frames := strings.Count(string(out), "SCHED "), strings.Count(string(out), ".go:")
	report.Claim("schedtrace-stacks", "2.2", "GODEBUG=schedtrace samples stacks on Linux",
		report.If(lines > 0 && frames == 0, report.False, report.If(frames > 0, report.True, report.NotHere)),
		"%d lines of schedtrace, %d frames in them", lines, frames)
	close(block)
}

// Works until the scheduler has had several of its trace periods.
func schedtraceChild() {
	var sum int
	for i := 0; i < 400_000_000; i++ {
		sum += i % 7
	}
	runtime.KeepAlive(sum)
}
