// Command moving_objects: what moves in a Go process, what does not, and what
// that means for symbols.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"unsafe"

	"heaptide.dev/bench/claims/report"
)

const objects = 100_000

type object struct {
	next *object
	pad  [56]byte
}

//go:noinline
func stackAddress(p *byte) uintptr { return uintptr(unsafe.Pointer(p)) }

//go:noinline
func grow(depth int) byte {
	var frame [1024]byte
	if depth > 0 {
		return grow(depth-1) + frame[depth%1024]
	}
	return frame[0]
}

// stackMoves says whether a variable on this stack has another address after the stack grew.
func stackMoves() bool {
	moved := make(chan bool)
	go func() {
		var local byte
		before := stackAddress(&local)
		grow(64)
		moved <- stackAddress(&local) != before
	}()
	return <-moved
}

func main() {
	if os.Getenv("CLAIMS_CHILD") != "" {
		pc, _, line, _ := runtime.Caller(0)
		fmt.Println(runtime.FuncForPC(pc).Name(), line > 0)
		return
	}
	kept := make([]*object, objects)
	addresses := make([]uintptr, objects)
	entry := runtime.FuncForPC(**(**uintptr)(unsafe.Pointer(&[]func(){main}[0]))).Entry()
	var garbage [][]byte
	for i := range kept {
		kept[i] = new(object)
		addresses[i] = uintptr(unsafe.Pointer(kept[i]))
		garbage = append(garbage, make([]byte, 64))
	}
	garbage = nil
	for i := 0; i < 10; i++ {
		runtime.GC()
	}
	debug.FreeOSMemory()
	moved := 0
	for i := range kept {
		if uintptr(unsafe.Pointer(kept[i])) != addresses[i] {
			moved++
		}
	}
	runtime.KeepAlive(garbage)
	report.Claim("gc-moves", "4.2", "the collector moves objects, so that addresses become invalid",
		report.If(moved == 0, report.False, report.True), "%d of %d objects had another address after 11 collections", moved, objects)
	moves := stackMoves()
	report.Claim("stacks-move", "4.2", "stacks are copied to other addresses", report.If(moves, report.True, report.False),
		"a local variable's address after its stack had grown: changed = %t", moves)
	after := runtime.FuncForPC(**(**uintptr)(unsafe.Pointer(&[]func(){main}[0]))).Entry()
	report.Claim("stale-symbols", "4.2", "a moved stack makes the addresses of functions stale, so that samples can't be resolved",
		report.If(after == entry && moves, report.False, report.True),
		"main.main was and is at %#x: frames hold addresses of code, and code does not move", after)

	maps, err := os.ReadFile("/proc/self/maps")
	report.Must(err)
	fromFile, other := 0, 0
	for _, line := range strings.Split(string(maps), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 5 || !strings.Contains(fields[1], "x") {
			continue
		}
		name := strings.Join(fields[5:], " ")
		switch {
		case strings.HasPrefix(name, "/"):
			fromFile++
		case name != "[vdso]" && name != "[vsyscall]" && name != "[uprobes]":
			other++
		}
	}
	_, noMap := os.Stat(fmt.Sprintf("/tmp/perf-%d.map", os.Getpid()))
	report.Claim("generated-code", "4.1", "the Go runtime generates functions while it runs and tells perf of their symbols",
		report.If(other == 0 && noMap != nil, report.False, report.True),
		"executable mappings: %d of the program's file, %d of anything else but the kernel's own; /tmp/perf-PID.map exists: %t", fromFile, other, noMap == nil)

	self, err := os.Executable()
	report.Must(err)
	child := exec.Command(self)
	child.Env = append(os.Environ(), "CLAIMS_CHILD=1")
	out, err := child.Output()
	report.Must(err)
	report.Claim("perf-map-agent", "4.2", "a perf map is needed to give addresses their names",
		report.If(strings.TrimSpace(string(out)) == "main.main true" && stripped(self), report.False, report.True),
		"a file without symbols and DWARF (stripped: %t) names its own addresses, with line numbers: %q", stripped(self), strings.TrimSpace(string(out)))
	_, hasInfo := debug.ReadBuildInfo()
	report.Claim("build-info", "4.3", "ReadBuildInfo helps to map symbols", report.False,
		"it has modules and settings (present: %t) and no address; the function table (.gopclntab) has them", hasInfo)
}
