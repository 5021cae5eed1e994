// Command symbols prints stacks with what Go itself says of each address: the
// ground truth of the symbolizer's tests. Each line is one stack, as JSON:
// "frames" has one entry for each logical frame, leaf first, with the address as
// runtime.Callers gives it (a return address; for the caller of an inlined call an
// address made up by the runtime) and function, file and line as
// runtime.CallersFrames gives them.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"sort"
	"unsafe"
)

type frame struct {
	PC        uintptr `json:"pc"`
	Function  string  `json:"function"`
	File      string  `json:"file"`
	Line      int     `json:"line"`
}

type stack struct {
	Version string  `json:"version"`
	What    string  `json:"what"`
	Here    uintptr `json:"here_pc"` // entry of main.here, to work out the load bias
	Rate    uintptr `json:"mem_profile_rate_address"`
	Frames  []frame `json:"frames"`
}

var (
	stacks []stack
	sink   any
	zero   int
)

//go:noinline
func here(what string) {
	pcs := make([]uintptr, 128)
	pcs = pcs[:runtime.Callers(1, pcs)]
	s := stack{
		Version: runtime.Version(),
		What:    what,
		Here:    reflect.ValueOf(here).Pointer(),
		Rate:    uintptr(unsafe.Pointer(&runtime.MemProfileRate)),
	}
	for _, pc := range pcs {
		// One address at a time: the frame for this address, with no others merged.
		f, _ := runtime.CallersFrames([]uintptr{pc}).Next()
		s.Frames = append(s.Frames, frame{PC: pc, Function: f.Function, File: f.File, Line: f.Line})
	}
	stacks = append(stacks, s)
}

// Three levels that the compiler inlines into each other.
func inlinedLeaf(what string) { here(what) }

func inlinedMiddle(what string) {
	if zero == 0 {
		inlinedLeaf(what)
	}
}

func inlinedOuter(what string) {
	for i := 0; i <= zero; i++ {
		inlinedMiddle(what)
	}
}

//go:noinline
func recurse(depth int) {
	if depth == 0 {
		inlinedOuter("recursion")
		return
	}
	recurse(depth - 1)
	sink = depth
}

type shape interface{ visit(what string) }

type square struct{ side int }

func (s square) visit(what string) { inlinedMiddle(what) }

type circle struct{ square }

//go:noinline
func visitAll(shapes []shape, what string) {
	for _, s := range shapes {
		s.visit(what)
	}
}

//go:noinline
func generic[T any](value T, what string) T {
	inlinedOuter(what)
	return value
}

//go:noinline
func divide(a, b int) (q int) {
	defer func() {
		if recover() != nil {
			inlinedLeaf("panic")
		}
	}()
	return a / b
}

//go:noinline
func largeFrame(what string) byte {
	var big [16 << 10]byte
	big[zero+5] = 1
	inlinedOuter(what)
	return big[zero+7]
}

type byLength []string

func (b byLength) Len() int      { return len(b) }
func (b byLength) Swap(i, j int) { b[i], b[j] = b[j], b[i] }
func (b byLength) Less(i, j int) bool {
	if len(stacks) < 8 {
		inlinedLeaf("sort")
	}
	return len(b[i]) < len(b[j])
}

func main() {
	inlinedOuter("inlined")
	recurse(20)
	visitAll([]shape{square{1}, &square{2}, circle{square{3}}, &circle{square{4}}}, "interface")
	generic(1, "generic int")
	generic("text", "generic string")
	divide(1, zero)
	sink = largeFrame("large frame")
	func() { defer inlinedOuter("defer"); sink = zero }()
	sort.Sort(byLength{"ccc", "a", "bb", "dddd"})
	reflect.ValueOf(inlinedOuter).Call([]reflect.Value{reflect.ValueOf("reflect")})
	done := make(chan bool)
	go func() { inlinedOuter("goroutine"); close(done) }()
	<-done
	cgoCall()

	out := json.NewEncoder(os.Stdout)
	for _, s := range stacks {
		if err := out.Encode(s); err != nil {
			fmt.Fprintln(os.Stderr, "symbols:", err)
			os.Exit(1)
		}
	}
}
