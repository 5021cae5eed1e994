// Command events does a known amount of one thing that the kernel, or Go's
// collector, has events for, and says what it did and what Go and /proc counted.
//
// Life: print a "ready" line, wait for a line on stdin (attach in that time),
// do it, print a "done" line, and wait until stdin ends. Each is one JSON object.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
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

const (
	page     = 4096
	hugePage = 2 << 20

	madvDontneed   = 4
	madvFree       = 8
	madvHugepage   = 14
	madvNohugepage = 15
	madvCollapse   = 25
)

type report struct {
	Event string `json:"event"`

	Base  uint64 `json:"base"`
	Pages int    `json:"pages"`

	HugePages  int    `json:"huge_pages"`
	AnonHugeKb int    `json:"anon_huge_kb"`
	Errno      string `json:"errno"`

	RunDelayNs int64 `json:"run_delay_ns"`

	AssistNs     int64 `json:"assist_ns"`
	Cycles       int64 `json:"cycles"`
	Pauses       int64 `json:"pauses"`
	PausesLowNs  int64 `json:"pauses_low_ns"`
	PausesHighNs int64 `json:"pauses_high_ns"`
}

var (
	mode  = flag.String("mode", "touch", "touch, collapse, khugepaged, starve or allocate")
	pages = flag.Int("pages", 1000, "pages to touch")
	sink  atomic.Pointer[node]
)

func mapped(length int) []byte {
	region, err := syscall.Mmap(-1, 0, length, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		panic(err)
	}
	return region
}

func address(region []byte) uint64 { return uint64(uintptr(unsafe.Pointer(&region[0]))) }

func advise(region []byte, advice int) error { return syscall.Madvise(region, advice) }

// Touches each page once, by a write: one fault each.
//
//go:noinline
func touch(region []byte) {
	for at := 0; at < len(region); at += page {
		region[at] = 1
	}
}

func touchPages(done *report) {
	region := mapped(*pages * page)
	if err := advise(region, madvNohugepage); err != nil {
		panic(err)
	}
	touch(region)
	done.Base, done.Pages = address(region), *pages
}

// As many huge pages as asked for, of small ones that are all there.
func smallPages(count int) []byte {
	region := mapped((count + 1) * hugePage)
	skip := (hugePage - int(address(region)%hugePage)) % hugePage
	region = region[skip : skip+count*hugePage]
	if err := advise(region, madvNohugepage); err != nil {
		panic(err)
	}
	touch(region)
	if err := advise(region, madvHugepage); err != nil {
		panic(err)
	}
	return region
}

//go:noinline
func collapse(region []byte) string {
	if err := advise(region, madvCollapse); err != nil {
		return err.Error()
	}
	return ""
}

// Puts three huge pages together at once, then what is left of a range that begins and ends inside of others.
func collapseRegion(done *report) {
	const count = 4
	region := smallPages(count)
	done.Base = address(region)
	done.Errno = collapse(region[page : 3*hugePage+page])
	if done.Errno == "" {
		done.Errno = collapse(region)
	}
	done.HugePages, done.AnonHugeKb = count, anonHuge(region)
	// Told apart from the others.
	for _, advice := range []int{madvFree, madvDontneed} {
		if err := advise(region, advice); err != nil {
			panic(err)
		}
	}
}

func waitForKhugepaged(done *report) {
	region := smallPages(1)
	done.Base, done.HugePages = address(region), 1
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if done.AnonHugeKb = anonHuge(region); done.AnonHugeKb > 0 {
			return
		}
		// khugepaged leaves alone what nobody uses.
		touch(region)
	}
}

func anonHuge(region []byte) int {
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		panic(err)
	}
	sum, inside := 0, false
	begin, end := address(region), address(region)+uint64(len(region))
	for _, line := range strings.Split(string(smaps), "\n") {
		var from, to uint64
		if n, _ := fmt.Sscanf(line, "%x-%x ", &from, &to); n == 2 {
			inside = from < end && to > begin
		}
		if strings.HasPrefix(line, "AnonHugePages:") && inside {
			kb, _ := strconv.Atoi(strings.Fields(line)[1])
			sum += kb
		}
	}
	return sum
}

// The time that all threads waited while they could have run.
func runDelay() int64 {
	files, _ := filepath.Glob("/proc/self/task/*/schedstat")
	var sum int64
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil {
			if fields := strings.Fields(string(text)); len(fields) == 3 {
				delay, _ := strconv.ParseInt(fields[1], 10, 64)
				sum += delay
			}
		}
	}
	return sum
}

func spin(end time.Time, workers int) {
	var all sync.WaitGroup
	for i := 0; i < workers; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for time.Now().Before(end) {
			}
		}()
	}
	all.Wait()
}

func starve(done *report) {
	before := runDelay()
	spin(time.Now().Add(1500*time.Millisecond), 3*runtime.NumCPU())
	done.RunDelayNs = runDelay() - before
}

type node struct {
	next [6]*node
	_    [2]uint64
}

// Trees that are kept, so that marking takes long, and others that are not, by many at once.
func tree(depth int) *node {
	n := new(node)
	if depth > 0 {
		for i := range n.next {
			n.next[i] = tree(depth - 1)
		}
	}
	return n
}

//go:noinline
func churn(rounds int) {
	for i := 0; i < rounds; i++ {
		sink.Store(tree(5))
	}
}

func allocate(done *report) {
	// One cycle, the program's own, before the first count.
	debug.SetGCPercent(-1)
	kept := tree(7)
	runtime.GC()
	before := goCounts()
	debug.SetGCPercent(25)
	var all sync.WaitGroup
	for i := 0; i < 4; i++ {
		all.Add(1)
		go func() { defer all.Done(); churn(60) }()
	}
	all.Wait()
	debug.SetGCPercent(-1)
	runtime.GC()
	after := goCounts()
	runtime.KeepAlive(kept)
	done.AssistNs = after.AssistNs - before.AssistNs
	done.Cycles = after.Cycles - before.Cycles
	done.Pauses = after.Pauses - before.Pauses
	done.PausesLowNs = after.PausesLowNs - before.PausesLowNs
	done.PausesHighNs = after.PausesHighNs - before.PausesHighNs
}

// What the runtime counted; nothing here stops the world. /cpu/classes is there from Go 1.20 on, /sched/pauses
// from Go 1.22 on.
func goCounts() (counts report) {
	samples := []metrics.Sample{
		{Name: "/cpu/classes/gc/mark/assist:cpu-seconds"},
		{Name: "/gc/cycles/total:gc-cycles"},
		{Name: "/sched/pauses/total/gc:seconds"},
	}
	metrics.Read(samples)
	if samples[0].Value.Kind() == metrics.KindFloat64 {
		counts.AssistNs = int64(samples[0].Value.Float64() * 1e9)
	}
	counts.Cycles = int64(samples[1].Value.Uint64())
	if samples[2].Value.Kind() == metrics.KindFloat64Histogram {
		histogram := samples[2].Value.Float64Histogram()
		for i, n := range histogram.Counts {
			if n > 0 {
				counts.Pauses += int64(n)
				counts.PausesLowNs += int64(histogram.Buckets[i] * 1e9 * float64(n))
				counts.PausesHighNs += int64(histogram.Buckets[i+1] * 1e9 * float64(n))
			}
		}
	}
	return counts
}

func say(r report) {
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		panic(err)
	}
}

func main() {
	flag.Parse()
	// So that the threads are there before anybody looks.
	runtime.GOMAXPROCS(3 * runtime.NumCPU())
	if *mode == "starve" {
		spin(time.Now().Add(100*time.Millisecond), 3*runtime.NumCPU())
	}
	say(report{Event: "ready"})
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		return
	}
	done := report{Event: "done"}
	switch *mode {
	case "touch":
		touchPages(&done)
	case "collapse":
		collapseRegion(&done)
	case "khugepaged":
		waitForKhugepaged(&done)
	case "starve":
		starve(&done)
	case "allocate":
		allocate(&done)
	default:
		panic("no such mode: " + *mode)
	}
	say(done)
	_, _ = in.ReadString('\n')
}
