// Command returned_memory: what GODEBUG=madvdontneed does to the memory that the
// runtime gives back.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"

	"heaptide.dev/bench/claims/report"
)

const bytes = 128 << 20

// child frees 128 MiB and says what RSS and what the kernel may still take of it.
func child() {
	memory := make([]byte, bytes)
	for i := 0; i < len(memory); i += 4096 {
		memory[i] = 1
	}
	full := report.KiB("status", "VmRSS")
	memory = nil
	debug.FreeOSMemory()
	fmt.Println(full, report.KiB("status", "VmRSS"), report.KiB("smaps_rollup", "LazyFree"))
}

func run(setting string) (full, rss, lazy int64) {
	self, err := os.Executable()
	report.Must(err)
	command := exec.Command(self)
	command.Env = append(os.Environ(), "CLAIMS_CHILD=1", "GODEBUG="+setting)
	out, err := command.Output()
	report.Must(err)
	_, err = fmt.Sscan(string(out), &full, &rss, &lazy)
	report.Must(err)
	return
}

func main() {
	if os.Getenv("CLAIMS_CHILD") != "" {
		child()
		return
	}
	full, plain, plainLazy := run("")
	_, one, oneLazy := run("madvdontneed=1")
	_, zero, zeroLazy := run("madvdontneed=0")
	const half = bytes >> 11
	alike := full-plain > half && full-one > half
	report.Claim("madvdontneed", "1", "GODEBUG=madvdontneed=1 must be set on Linux, or else freed memory stays in RSS",
		report.If(alike && full-zero < half, report.False, report.If(!alike, report.True, report.Conditional)),
		"RSS of %d KiB after 128 MiB were given back: %d KiB by default, %d with =1 (the default since Go 1.16), %d with =0, of which %d are LazyFree (LazyFree %d and %d in the others)",
		full, plain, one, zero, zeroLazy, plainLazy, oneLazy)
}
