// Command no_kernel_sampling: the heap and goroutine profiles with the kernel's
// means of observation forbidden (seccomp answers EPERM).
package main

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"strings"
	"syscall"
	"unsafe"

	"heaptide.dev/bench/claims/report"
)

// System calls of amd64 that the article names, or that such an observer would use.
var forbidden = []uint32{298 /* perf_event_open */, 101 /* ptrace */, 310 /* process_vm_readv */, 321 /* bpf */}

type filter struct {
	code   uint16
	jt, jf uint8
	k      uint32
}

type program struct {
	len    uint16
	filter *filter
}

// forbid makes those calls fail in all threads.
func forbid() {
	const (
		loadWord, jumpEqual, ret  = 0x20, 0x15, 0x06
		allow, permissionDenied   = 0x7fff0000, 0x00050000 | uint32(syscall.EPERM)
		noNewPrivileges           = 38
		seccomp, setFilter, sync_ = 317, 1, 1
	)
	code := []filter{{code: loadWord}}
	for i, number := range forbidden {
		code = append(code, filter{code: jumpEqual, jt: uint8(len(forbidden) - i), k: number})
	}
	code = append(code, filter{code: ret, k: allow}, filter{code: ret, k: permissionDenied})
	_, _, errno := syscall.Syscall6(syscall.SYS_PRCTL, noNewPrivileges, 1, 0, 0, 0, 0)
	if errno == 0 {
		p := program{len: uint16(len(code)), filter: &code[0]}
		_, _, errno = syscall.Syscall(seccomp, setFilter, sync_, uintptr(unsafe.Pointer(&p)))
	}
	if errno != 0 {
		panic(errno)
	}
}

var sink []byte

//go:noinline
func allocate(n int) {
	for i := 0; i < n; i++ {
		sink = make([]byte, 1024)
	}
}

func min(a, b int64) int64 {
	if a < b {
		return a
	}
	return b
}

func main() {
	if os.Getenv("CLAIMS_CHILD") != "" {
		runtime.MemProfileRate = 1
		allocate(10_000)
		report.Publish()
		// The runtime may allocate a little for itself in there.
		if report.ProfileOf("main.allocate").AllocObjects < 10_000 {
			os.Exit(1)
		}
		return
	}
	runtime.MemProfileRate = 1
	forbid()
	_, _, errno := syscall.Syscall6(uintptr(forbidden[0]), 0, 0, 0, 0, 0, 0)
	if errno != syscall.EPERM {
		panic("perf_event_open is not forbidden")
	}
	allocate(10_000)
	report.Publish()
	got := report.ProfileOf("main.allocate").AllocObjects
	report.Claim("perf-events", "1, 2.4", "on Linux the heap profile samples by perf_event_open",
		report.If(got >= 10_000, report.False, report.True),
		"with perf_event_open, ptrace, process_vm_readv and bpf forbidden, %d of 10,000 allocations were profiled at rate 1", min(got, 10_000))

	block := make(chan struct{})
	for i := 0; i < 100; i++ {
		go func() { <-block }()
	}
	for runtime.NumGoroutine() < 101 {
		runtime.Gosched()
	}
	runtime.Gosched()
	var text bytes.Buffer
	report.Must(pprof.Lookup("goroutine").WriteTo(&text, 2))
	found := strings.Count(text.String(), "main.main.func1")
	report.Claim("ucontext", "2.2", "on Linux goroutine stacks are walked with ptrace or getcontext",
		report.If(found >= 100, report.False, report.True),
		"the same with ptrace forbidden and no C library in the process: stacks of %d goroutines. Go walks them by its own tables", found)

	self, err := os.Executable()
	report.Must(err)
	var exact [2]bool
	for i, debug := range []string{"asyncpreemptoff=0", "asyncpreemptoff=1"} {
		child := exec.Command(self)
		child.Env = append(os.Environ(), "CLAIMS_CHILD=1", "GODEBUG="+debug)
		exact[i] = child.Run() == nil
	}
	report.Claim("asyncpreemptoff", "1", "GODEBUG=asyncpreemptoff=1 must be avoided for memory analysis on Linux",
		report.If(exact[0] && exact[1], report.False, report.True),
		"10,000 of 10,000 allocations profiled at rate 1 without it: %t, with it: %t", exact[0], exact[1])
}
