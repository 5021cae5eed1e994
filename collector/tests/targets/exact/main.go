// Command exact allocates a known number of objects of known types at known
// places, and says what Go itself counted meanwhile.
//
// Life: print "ready", wait for a line (open the window in that time), read the
// runtime's statistics, allocate, read them again, print "done", wait for a line
// (close the window in that time), print one JSON object, and wait until stdin
// ends. Between the two lines nothing allocates but the sites below.
package main

import (
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"runtime"
	"sync"
	"syscall"
	"time"
)

type node struct {
	next  *node
	value int
	label string
}

type pair[K, V any] struct {
	key   K
	value V
}

// An object with pointers and more than 512 bytes, so that it has a header.
type page struct {
	owner *node
	cells [100]int
}

// A site is a function that allocates count objects of size bytes each.
type site struct {
	Function string `json:"function"`
	Type     string `json:"type"`
	Class    uint64 `json:"class"`
	Size     uint64 `json:"size"`
	Count    uint64 `json:"count"`
	run      func(n int) int
}

type report struct {
	Mallocs  uint64 `json:"mallocs"`
	Frees    uint64 `json:"frees"`
	Bytes    uint64 `json:"bytes"`
	Checksum int    `json:"checksum"`
	Sites    []site `json:"sites"`
	Samples  int64  `json:"samples"`
}

// Where the objects go, so that they are on the heap; one for each worker.
type sink struct {
	bytes []byte
	node  *node
	tiny  *int32
	text  string
	pages *page
	list  []*node
	ptr   *pair[string, int]
}

var sinks [64]sink

//go:noinline
func (s *sink) small(n int) (sum int) {
	for i := 0; i < n; i++ {
		s.bytes = make([]byte, 100)
		sum += len(s.bytes)
	}
	return sum
}

//go:noinline
func (s *sink) nodes(n int) (sum int) {
	for i := 0; i < n; i++ {
		s.node = &node{value: i}
		sum += s.node.value
	}
	return sum
}

//go:noinline
func (s *sink) tinies(n int) (sum int) {
	for i := 0; i < n; i++ {
		s.tiny = new(int32)
		*s.tiny = int32(i)
		sum += int(*s.tiny)
	}
	return sum
}

//go:noinline
func (s *sink) texts(n int) (sum int) {
	for i := 0; i < n; i++ {
		s.text = base[:30] + base[i%3:i%3+3]
		sum += len(s.text)
	}
	return sum
}

//go:noinline
func (s *sink) large(n int) (sum int) {
	for i := 0; i < n; i++ {
		s.bytes = make([]byte, 100_000)
		sum += len(s.bytes)
	}
	return sum
}

//go:noinline
func (s *sink) headed(n int) (sum int) {
	for i := 0; i < n; i++ {
		s.pages = &page{owner: s.node}
		sum += len(s.pages.cells)
	}
	return sum
}

//go:noinline
func (s *sink) lists(n int) (sum int) {
	for i := 0; i < n; i++ {
		s.list = make([]*node, 20)
		sum += len(s.list)
	}
	return sum
}

//go:noinline
func (s *sink) pairs(n int) (sum int) {
	for i := 0; i < n; i++ {
		s.ptr = &pair[string, int]{value: i}
		sum += s.ptr.value
	}
	return sum
}

//go:noinline
func (s *sink) deep(n, depth int) int {
	if depth > 0 {
		return s.deep(n, depth-1) + 1
	}
	return s.bottom(n)
}

//go:noinline
func (s *sink) bottom(n int) (sum int) {
	for i := 0; i < n; i++ {
		s.bytes = make([]byte, 2000)
		sum += len(s.bytes)
	}
	return sum
}

// A type that no compiler has seen.
//
//go:noinline
func (s *sink) reflected(n int) (sum int) {
	for i := 0; i < n; i++ {
		sum += reflect.New(made).Elem().NumField()
	}
	return sum
}

var base = "a string whose parts are put together again"
var made = reflect.StructOf([]reflect.StructField{
	{Name: "A", Type: reflect.TypeOf((*node)(nil))},
	{Name: "B", Type: reflect.TypeOf([4]int{})},
})

func (s *sink) sites(n int) []site {
	all := []site{
		{Function: "main.(*sink).small", Type: "uint8", Class: 112, Size: 100, run: s.small},
		{Function: "main.(*sink).nodes", Type: "main.node", Class: 32, Size: 32, run: s.nodes},
		{Function: "main.(*sink).tinies", Type: "int32", Class: 16, Size: 4, run: s.tinies},
		{Function: "main.(*sink).texts", Type: "", Class: 48, Size: 33, run: s.texts},
		{Function: "main.(*sink).headed", Type: "main.page", Class: 896, Size: 808, run: s.headed},
		{Function: "main.(*sink).lists", Type: "*main.node", Class: 160, Size: 160, run: s.lists},
		{Function: "main.(*sink).pairs", Type: "main.pair[string,int]", Class: 24, Size: 24, run: s.pairs},
		{Function: "main.(*sink).bottom", Type: "uint8", Class: 2048, Size: 2000, run: func(n int) int { return s.deep(n, 60) }},
		{Function: "main.(*sink).reflected", Type: "(type made at run time)", Class: 48, Size: 40, run: s.reflected},
		{Function: "main.(*sink).large", Type: "uint8", Class: 0, Size: 100_000, run: s.large},
	}
	for i := range all {
		all[i].Count = uint64(n)
	}
	all[len(all)-1].Count = uint64(n/100 + 1)
	return all
}

func main() {
	objects := flag.Int("objects", 5000, "objects that each site of each worker allocates")
	workers := flag.Int("workers", 1, "goroutines that allocate")
	forSeconds := flag.Float64("seconds", 0, "allocate for so long instead, again and again")
	rate := flag.Int("rate", 0, "MemProfileRate")
	flag.Parse()
	runtime.MemProfileRate = *rate

	all := make([][]site, *workers)
	for w := range all {
		all[w] = sinks[w].sites(*objects)
	}
	sums := make([]int, *workers)
	var start, done sync.WaitGroup
	start.Add(1)
	done.Add(*workers)
	until := time.Time{}
	for w := range all {
		go func(w int) {
			defer done.Done()
			start.Wait()
			for again := true; again; again = time.Now().Before(until) {
				for _, s := range all[w] {
					sums[w] += s.run(int(s.Count))
				}
			}
		}(w)
	}
	runtime.GC()
	time.Sleep(20 * time.Millisecond) // until all of them wait
	line := make([]byte, 64)
	var before, after runtime.MemStats
	sampled := samples()
	say("ready\n")
	if !hear(line) {
		return // nobody started us
	}
	runtime.ReadMemStats(&before)
	if *forSeconds > 0 {
		until = time.Now().Add(time.Duration(*forSeconds * 1e9))
	}
	start.Done()
	done.Wait()
	runtime.ReadMemStats(&after)
	say("done\n")
	hear(line)

	r := report{
		Mallocs: after.Mallocs - before.Mallocs,
		Frees:   after.Frees - before.Frees,
		Bytes:   after.TotalAlloc - before.TotalAlloc,
		Sites:   all[0],
		Samples: samples() - sampled,
	}
	for i := range r.Sites {
		r.Sites[i].Count *= uint64(*workers)
	}
	for _, sum := range sums {
		r.Checksum += sum
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		panic(err)
	}
	hear(line)
}

// Not made when it is needed, or it would be sampled itself.
var records [2048]runtime.MemProfileRecord

// samples says how many objects Go's profiler has sampled.
func samples() (sum int64) {
	if runtime.MemProfileRate == 0 {
		return 0
	}
	for i := 0; i < 3; i++ {
		runtime.GC()
	}
	n, ok := runtime.MemProfile(records[:], true)
	if !ok {
		panic("more buckets than expected")
	}
	for _, record := range records[:n] {
		sum += record.AllocObjects
	}
	return sum
}

// say and hear do not allocate.
func say(text string) {
	if _, err := syscall.Write(1, []byte(text)); err != nil {
		panic(err)
	}
}

func hear(line []byte) bool {
	n, _ := syscall.Read(0, line)
	return n > 0
}
