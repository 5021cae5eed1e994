// Command mappings: what the heap profile sees of memory that was mapped past
// Go's allocator, and what the kernel tells of huge pages.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"heaptide.dev/bench/claims/report"
)

const (
	mapBytes     = 64 << 20
	hugeBytes    = 2 << 20
	madvHuge     = 14
	madvDontDump = 16
	mapHugeTLB   = 0x40000
	private      = syscall.MAP_ANON | syscall.MAP_PRIVATE
	readWrite    = syscall.PROT_READ | syscall.PROT_WRITE
)

func faults() int64 {
	var usage syscall.Rusage
	report.Must(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return usage.Minflt
}

func touch(memory []byte) (faulted int64) {
	before := faults()
	for at := 0; at < len(memory); at += 4096 {
		memory[at] = 1
	}
	return faults() - before
}

// aligned maps n bytes at an address that huge pages can have.
func aligned(n int) []byte {
	memory, err := syscall.Mmap(-1, 0, n+hugeBytes, readWrite, private)
	report.Must(err)
	skip := (hugeBytes - int(uintptr(unsafe.Pointer(&memory[0]))%hugeBytes)) % hugeBytes
	return memory[skip : skip+n]
}

// region is the paragraph of smaps for the mapping at an address.
func region(memory []byte) map[string]string {
	text, err := os.ReadFile("/proc/self/smaps")
	report.Must(err)
	at := uint64(uintptr(unsafe.Pointer(&memory[0])))
	fields := map[string]string{}
	inside := false
	for _, line := range strings.Split(string(text), "\n") {
		var from, to uint64
		if n, _ := fmt.Sscanf(line, "%x-%x ", &from, &to); n == 2 {
			inside = from <= at && at < to
		} else if name, value, found := strings.Cut(line, ":"); found && inside {
			fields[name] = strings.TrimSpace(value)
		}
	}
	return fields
}

func main() {
	runtime.MemProfileRate = 1
	report.Still()
	report.Publish()
	heap := report.ProfileOf("")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	rss := report.KiB("status", "VmRSS")
	plain, err := syscall.Mmap(-1, 0, mapBytes, readWrite, private)
	report.Must(err)
	plainFaults := touch(plain)
	rss = report.KiB("status", "VmRSS") - rss
	runtime.ReadMemStats(&after)
	report.Publish()
	profiled := report.ProfileOf("").Minus(heap).AllocBytes
	report.Claim("anonymous-mappings", "2.4", "pprof does not see anonymous mappings",
		report.If(rss >= mapBytes>>10 && profiled < mapBytes/10, report.True, report.False),
		"64 MiB mapped and touched: RSS +%d KiB, heap profile (rate 1) +%d KiB, MemStats.Sys +%d KiB",
		rss, profiled>>10, int64(after.Sys-before.Sys)>>10)
	report.Claim("page-fault-samples", "2.4", "an ordinary anonymous mapping is seen by pprof, through the page faults that it causes",
		report.If(plainFaults > 0 && profiled < mapBytes/10, report.False, report.True),
		"%d page faults while touching it; the profile grew by %d KiB. Go's heap profile knows no page faults", plainFaults, profiled>>10)

	huge := aligned(mapBytes)
	begin := faults()
	_, _, errno := syscall.Syscall(syscall.SYS_MADVISE, uintptr(unsafe.Pointer(&huge[0])), mapBytes, madvHuge)
	adviceFaults := faults() - begin
	if errno != 0 {
		report.Claim("madv-hugepage", "2.4", "MADV_HUGEPAGE causes no page fault", report.NotHere,
			"madvise(MADV_HUGEPAGE): %v; this kernel has no transparent huge pages", errno)
	} else {
		touchFaults := touch(huge)
		fields := region(huge)
		verdict := report.Conditional
		if touchFaults == 0 {
			verdict = report.True
		}
		report.Claim("madv-hugepage", "2.4", "MADV_HUGEPAGE causes no page fault, the pages are merged in the background only",
			verdict, "the call itself: %d faults. The first touches of 64 MiB: %d faults (%d without the advice); AnonHugePages %s. "+
				"So it does fault, once for each huge page that it gets at once; only a later merge by khugepaged is without a fault",
			adviceFaults, touchFaults, plainFaults, fields["AnonHugePages"])
	}
	report.Publish()
	report.Claim("madv-hugepage-profile", "2.4", "pprof sees nothing of memory under MADV_HUGEPAGE",
		report.If(report.ProfileOf("").Minus(heap).AllocBytes < mapBytes/10, report.True, report.False),
		"64 MiB mapped, advised and touched: heap profile +%d KiB", report.ProfileOf("").Minus(heap).AllocBytes>>10)

	_, _, errno = syscall.Syscall(syscall.SYS_MADVISE, uintptr(unsafe.Pointer(&plain[0])), mapBytes, madvDontDump)
	fields := region(plain)
	report.Claim("dontdump-hides", "2.4", "MADV_DONTDUMP hides a mapping from /proc/PID/smaps",
		report.If(errno == 0 && fields["Rss"] != "", report.False, report.True),
		"smaps still has it: Rss %s, VmFlags %q (dd: do not dump)", fields["Rss"], fields["VmFlags"])

	const claim = "pprof does not see MAP_HUGETLB, because it passes the page-fault path"
	tlb, err := syscall.Mmap(-1, 0, hugeBytes, readWrite, private|mapHugeTLB)
	if err != nil {
		report.Claim("map-hugetlb", "2.4", claim, report.NotHere,
			"mmap(MAP_HUGETLB): %v; `sysctl vm.nr_hugepages=1` reserves a page for it", err)
		return
	}
	n := touch(tlb)
	report.Publish()
	report.Claim("map-hugetlb", "2.4", claim, report.If(n > 0, report.Conditional, report.True),
		"not seen (heap profile +%d KiB), as no mapping is; but the touch of 2 MiB did fault, %d time(s)",
		report.ProfileOf("").Minus(heap).AllocBytes>>10, n)
}
