// Command probes: what uprobes on a Go program see, put in by the kernel's own
// tracing files. Needs root and tracefs. Only a private copy of this program is
// probed, and everything is taken out again.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"heaptide.dev/bench/claims/report"
)

const (
	doubleCounted = "a probe at the entry of runtime.mallocgc counts allocations"
	allOfThem     = "runtime.mallocgc is the one place that all allocations pass"
	uretprobe     = "uretprobes can intercept a Go program's functions"
	libc          = "probes on the C library's malloc intercept allocations"
	usdt          = "a Go program has injection points of its own for tracers (USDT)"
	mmapEvents    = "mmap events (perf record -e syscalls:sys_enter_mmap) show a Go program's allocations"
)

func main() {
	switch os.Getenv("CLAIMS_CHILD") {
	case "allocate":
		allocateAndTell()
		return
	case "return":
		returning()
		return
	case "mmap":
		allocateMuch()
		return
	}
	folder, err := os.MkdirTemp("", "heaptide-claims")
	report.Must(err)
	defer os.RemoveAll(folder)
	self, err := os.Executable()
	report.Must(err)
	program, err := os.ReadFile(self)
	report.Must(err)
	path := filepath.Join(folder, "probed")
	report.Must(os.WriteFile(path, program, 0o755))
	image := open(path)

	report.Claim("usdt", "3.2", usdt, report.If(image.hasUSDT, report.True, report.False),
		"section .note.stapsdt present: %t", image.hasUSDT)
	maps, err := os.ReadFile("/proc/self/maps")
	report.Must(err)
	report.Claim("libc-malloc", "3.3", libc,
		report.If(strings.Contains(string(maps), "libc"), report.Conditional, report.False),
		"a Go program without cgo: C library mapped: %t; %d MB of Go heap were allocated without it. True of C code only",
		strings.Contains(string(maps), "libc"), heapWithoutLibc())

	trace, why := openTracing()
	if trace == nil {
		for id, claim := range map[string]string{"entry-probe": doubleCounted, "mallocgc-only": allOfThem, "uretprobe": uretprobe, "mmap-events": mmapEvents} {
			report.Claim(id, "3", claim, report.NotHere, "%s", why)
		}
		return
	}
	defer trace.clear()
	counting(trace, image)
	returnProbe(trace, image)
	mmapCalls(trace, path)
}

func counting(trace *tracing, image *image) {
	names := []string{"runtime.mallocgc"}
	if image.has("runtime.mallocgcSmallNoScanSC2") {
		names = append(names, image.leaves()...)
	}
	for i, name := range names {
		trace.probe('p', fmt.Sprintf("inside_%d", i), image, name, image.behindCheck(name))
	}
	trace.probe('p', "entry", image, "runtime.mallocgc", 0)
	mallocs := runChild(image.path, "allocate")
	hits := trace.hits()
	trace.clear()
	leaves := int64(0)
	for i := range names {
		if i > 0 {
			leaves += hits[fmt.Sprintf("inside_%d", i)]
		}
	}
	inside, entry := hits["inside_0"], hits["entry"]
	report.Claim("entry-probe", "3", doubleCounted, report.If(entry > inside, report.False, report.True),
		"%d hits at the entry, %d behind the stack check: a call whose stack grows enters twice", entry, inside)
	if leaves == 0 {
		report.Claim("mallocgc-only", "3", allOfThem, report.If(near(inside, mallocs), report.True, report.False),
			"%d hits of mallocgc, MemStats.Mallocs %d (%s)", inside, mallocs, runtime.Version())
		return
	}
	report.Claim("mallocgc-only", "3", allOfThem, report.If(near(inside, mallocs), report.True, report.False),
		"MemStats.Mallocs %d; mallocgc was hit %d times, the %d specialised allocators %d times (true up to Go 1.26, which has none)",
		mallocs, inside, len(names)-1, leaves)
}

// near allows for what is allocated after the count was taken, and before the first.
func near(hits, mallocs int64) bool {
	difference := hits - mallocs
	return difference >= -64 && difference <= 64
}

func returnProbe(trace *tracing, image *image) {
	plain := exec.Command(image.path)
	plain.Env = append(os.Environ(), "CLAIMS_CHILD=return")
	report.Must(plain.Run())
	trace.probe('r', "return", image, "main.growing", 0)
	child := exec.Command(image.path)
	child.Env = append(os.Environ(), "CLAIMS_CHILD=return")
	out, err := child.CombinedOutput()
	trace.clear()
	text := string(out)
	if at := strings.IndexByte(text, '\n'); at >= 0 {
		text = text[:at]
	}
	report.Claim("uretprobe", "3.3", uretprobe, report.If(err != nil, report.False, report.Conditional),
		"without it the program ends well; with a uretprobe on a function whose stack grows: %v, %q", err, text)
}

func runChild(path, mode string) (number int64) {
	child := exec.Command(path)
	child.Env = append(os.Environ(), "CLAIMS_CHILD="+mode)
	out, err := child.Output()
	report.Must(err)
	_, err = fmt.Sscan(string(out), &number)
	report.Must(err)
	return number
}
