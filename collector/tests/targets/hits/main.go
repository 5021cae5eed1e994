// Command hits does a known number of things that Heaptide's eBPF programs
// watch, and says what Go itself counted.
//
// Life: print a "ready" line, wait for a line on stdin (attach in that time),
// do everything, print a "done" line, and wait until stdin ends. Each is one
// JSON object. Nothing is sampled before the line: MemProfileRate is 0 from
// the first package variable on.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

var _ = func() bool { runtime.MemProfileRate = 0; return true }()

// A length that the runtime never maps: 77 pages.
const mapLength = 77 * 4096

type report struct {
	Event      string  `json:"event"`
	Pid        int     `json:"pid"`
	Goid       uint64  `json:"goid"`
	NsPerAlloc float64 `json:"ns_per_alloc"`

	ProfiledAllocs int64 `json:"profiled_allocs"`
	ProfiledFrees  int64 `json:"profiled_frees"`
	Cycles         int64 `json:"cycles"`
	GcPauses       int64 `json:"gc_pauses"`
	PauseNs        int64 `json:"pause_ns"`
	OtherStops     int64 `json:"other_stops"`

	Mapped   []uint64 `json:"mapped"`
	Remapped uint64   `json:"remapped"`
	Brk      uint64   `json:"brk"`
	Advised  int      `json:"advised"`
}

type counts struct{ allocs, frees, cycles, pauses, pauseNs int64 }

// sink keeps the last objects of one worker.
type sink [64][]byte

//go:noinline
func (s *sink) allocate(n int) {
	for i := 0; i < n; i++ {
		s[i%len(s)] = make([]byte, 32+i%7*100)
	}
}

//go:noinline
func (s *sink) deep(n, depth int) int {
	if depth > 0 {
		return s.deep(n, depth-1) + 1
	}
	s.allocate(n)
	return 0
}

// settle makes every P notice that the rate is 0. A P draws the distance to its
// next sample at the rate that it knows, and goes on with it until that sample;
// one that it takes between our first count and the attachment would be counted
// here and not be seen there. The distance is 512 KiB in the mean, so what each P
// allocates here is enough but for one time in 10^13.
//
// Each goroutine spins until all have arrived. With GODEBUG=asyncpreemptoff=1,
// which whoever starts this has to set, a loop without a call is never taken off
// its P, so that each of them runs on a P of its own.
func settle() {
	if !strings.Contains(os.Getenv("GODEBUG"), "asyncpreemptoff=1") {
		panic("start me with GODEBUG=asyncpreemptoff=1: without it the counts may be off by one for each P")
	}
	var arrived atomic.Int32
	var done sync.WaitGroup
	all := int32(runtime.GOMAXPROCS(0))
	kept := make([][]byte, all)
	for i := range kept {
		done.Add(1)
		go func(i int) {
			defer done.Done()
			arrived.Add(1)
			for arrived.Load() < all {
			}
			for n := 0; n < 32; n++ {
				kept[i] = make([]byte, 512<<10)
			}
		}(i)
	}
	done.Wait()
}

// goCounts flushes and reads what the runtime counted. runtime.MemProfile lags
// up to two cycles; none of the reads stops the world.
func goCounts() counts {
	settle()
	for i := 0; i < 3; i++ {
		runtime.GC()
	}
	var c counts
	n, _ := runtime.MemProfile(nil, true)
	records := make([]runtime.MemProfileRecord, n+64)
	n, ok := runtime.MemProfile(records, true)
	if !ok {
		panic("more buckets than expected")
	}
	for _, r := range records[:n] {
		c.allocs += r.AllocObjects
		c.frees += r.FreeObjects
	}
	var stats debug.GCStats
	debug.ReadGCStats(&stats)
	c.cycles, c.pauseNs = stats.NumGC, int64(stats.PauseTotal)
	sample := []metrics.Sample{{Name: "/gc/pauses:seconds"}}
	metrics.Read(sample)
	for _, n := range sample[0].Value.Float64Histogram().Counts {
		c.pauses += int64(n)
	}
	return c
}

func main() {
	allocs := flag.Int("allocs", 20000, "objects that each goroutine allocates, every one profiled")
	workers := flag.Int("workers", 1, "goroutines that allocate, the main one among them")
	depth := flag.Int("depth", 10, "calls below main")
	cycles := flag.Int("cycles", 10, "GC cycles to run")
	maps := flag.Int("maps", 20, "mappings to make")
	rate := flag.Int("rate", 1, "MemProfileRate while allocating")
	flag.Parse()

	sinks := make([]*sink, *workers)
	for i := range sinks {
		sinks[i] = new(sink)
	}
	before := goCounts()
	out := json.NewEncoder(os.Stdout)
	r := report{Event: "ready", Pid: os.Getpid(), Goid: goid()}
	must(out.Encode(r))
	stdin := bufio.NewReader(os.Stdin)
	if _, err := stdin.ReadString('\n'); err != nil {
		os.Exit(0) // nobody started us
	}

	runtime.MemProfileRate = *rate
	begin := time.Now()
	var others sync.WaitGroup
	for _, s := range sinks[1:] {
		others.Add(1)
		go func(s *sink) {
			defer others.Done()
			s.deep(*allocs, *depth)
		}(s)
	}
	sinks[0].deep(*allocs, *depth)
	others.Wait()
	r.NsPerAlloc = float64(time.Since(begin)) / float64(*allocs)
	runtime.MemProfileRate = 0
	for _, s := range sinks {
		*s = sink{}
	}
	for i := 0; i < *cycles; i++ {
		runtime.GC()
	}
	var stats runtime.MemStats
	for r.OtherStops < 3 {
		runtime.ReadMemStats(&stats)
		r.OtherStops++
	}
	r.mappings(*maps)

	after := goCounts()
	r.Event = "done"
	r.ProfiledAllocs = after.allocs - before.allocs
	r.ProfiledFrees = after.frees - before.frees
	r.Cycles = after.cycles - before.cycles
	r.GcPauses = after.pauses - before.pauses
	r.PauseNs = after.pauseNs - before.pauseNs
	must(out.Encode(r))
	_, _ = stdin.ReadString('\n')
}

// mappings makes known mapping calls; the lengths tell them from the runtime's.
func (r *report) mappings(n int) {
	for i := 0; i < n; i++ {
		m, err := syscall.Mmap(-1, 0, mapLength, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		must(err)
		r.Mapped = append(r.Mapped, uint64(uintptr(unsafe.Pointer(&m[0]))))
		must(syscall.Madvise(m, syscall.MADV_DONTNEED))
		r.Advised++
		if i > 0 { // the first one is moved below
			must(syscall.Munmap(m))
		}
	}
	const mayMove = 1
	at, _, errno := syscall.Syscall6(syscall.SYS_MREMAP, uintptr(r.Mapped[0]), mapLength, 3*mapLength, mayMove, 0, 0)
	if errno != 0 {
		panic(errno)
	}
	r.Remapped = uint64(at)
	brk, _, _ := syscall.Syscall(syscall.SYS_BRK, 0, 0, 0)
	r.Brk = uint64(brk)
	_, _, errno = syscall.Syscall6(syscall.SYS_MMAP, 0, 0, 0, 0, 0, 0)
	if errno != syscall.EINVAL {
		panic(errno)
	}
}

func goid() uint64 {
	var buf [64]byte
	text := buf[:runtime.Stack(buf[:], false)]
	text = bytes.TrimPrefix(text, []byte("goroutine "))
	id, err := strconv.ParseUint(string(text[:bytes.IndexByte(text, ' ')]), 10, 64)
	must(err)
	return id
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
