// Command sites allocates at named sites and keeps its own exact count.
//
// It is the ground truth of the end-to-end tests: what a profiler estimates for
// a site is compared with what this program says it allocated there. Every
// size is one that the allocator does not round up (see sites.go), so
// requested bytes equal accounted bytes, and with one worker the same seed
// gives the same sequence.
//
// Life: print a "ready" line, wait for a line on stdin (attach in that time),
// print one "window" line per window, print an "end" line, then answer each
// further line on stdin with a "state" line until stdin ends. Each is one JSON
// object on stdout. With -windows 0 it allocates until stdin ends.
//
// Build tag pprof links runtime/pprof; without it the linker turns memory
// profiling off and runtime.MemProfileRate starts at 0.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const (
	defaultRateBytes = 512 << 10
	// 400 samples give a relative standard error of 1/sqrt(400) = 5 %.
	samplesPerSite = 400
	clockMonotonic = 1
)

// atEnd runs after the last window; the pprof build sets it.
var atEnd = func() error { return nil }

func main() {
	seed := flag.Int64("seed", 1, "seed of the allocation sequence")
	names := flag.String("sites", "all", "comma-separated sites, of: "+strings.Join(siteNames(), ","))
	windows := flag.Int("windows", 10, "windows to run; 0 = until stdin ends")
	windowBytes := flag.Int64("window-bytes", 0, "bytes per window over all sites; 0 = enough for about 5 % error per site")
	pace := flag.Duration("pace", 0, "sleep between windows")
	rate := flag.Int("rate", 0, "set runtime.MemProfileRate at start if > 0")
	leak := flag.Bool("leak", false, "siteLeak keeps what it allocates")
	leakBytes := flag.Int64("leak-bytes", 8<<20, "bytes that siteLeak keeps per window with -leak")
	gc := flag.Bool("gc", false, "runtime.GC() between windows")
	workers := flag.Int("workers", 1, "goroutines that allocate")
	flag.Parse()
	if *rate > 0 {
		runtime.MemProfileRate = *rate
	}
	chosen, err := chooseSites(*names)
	if err == nil && (*workers < 1 || *workers > 256 || *windows < 0 || *windowBytes < 0 || *leakBytes < 1) {
		err = fmt.Errorf("a flag is outside its range: -workers 1..256, -windows and -window-bytes >= 0, -leak-bytes >= 1")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sites:", err)
		os.Exit(2)
	}
	if *windowBytes == 0 {
		r := int64(defaultRateBytes)
		if *rate > 0 {
			r = int64(*rate)
		}
		*windowBytes = samplesPerSite * r * totalShare(chosen) / smallestShare(chosen)
	}

	group := newGroup(*workers, chosen, *seed, *windowBytes, *leak, *leakBytes)
	stdin := bufio.NewReader(os.Stdin)
	out := newPrinter()
	out.ready(group, *windowBytes)
	if _, err := stdin.ReadString('\n'); err != nil {
		os.Exit(0) // nobody started us
	}

	var stop atomic.Bool
	if *windows == 0 {
		go func() {
			_, _ = io.Copy(io.Discard, stdin)
			stop.Store(true)
		}()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := 0; (*windows == 0 || i < *windows) && !stop.Load(); i++ {
		begin := monotonicNs()
		group.runWindow()
		out.window(i, begin, monotonicNs(), group)
		if *gc {
			runtime.GC()
		}
		if *pace > 0 {
			time.Sleep(*pace)
		}
	}
	// No cycle of the runtime's own begins from here on: one that is cut off by the exit would be seen by a
	// probe and yet not be printed by gctrace. SetGCPercent waits for a mark phase that is under way, and
	// ReadMemStats for what gctrace prints (gcMarkTermination releases worldsema after it).
	debug.SetGCPercent(-1)
	runtime.ReadMemStats(&after)
	out.end(&before, &after, group)
	if err := atEnd(); err != nil {
		fmt.Fprintln(os.Stderr, "sites:", err)
		os.Exit(1)
	}
	for {
		if _, err := stdin.ReadString('\n'); err != nil {
			break
		}
		out.state()
	}
	runtime.KeepAlive(group)
}

// monotonicNs reads CLOCK_MONOTONIC, the clock of runtime.nanotime and of
// bpf_ktime_get_ns, which package time does not hand out.
func monotonicNs() int64 {
	var ts syscall.Timespec
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&ts)), 0)
	return ts.Sec*1e9 + ts.Nsec
}
