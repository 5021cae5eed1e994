// Package report prints what an experiment found: one JSON object a line, which
// `cargo xtask bench -- claims` collects.
package report

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
)

// Verdict on a claim.
type Verdict string

const (
	True        Verdict = "true"
	False       Verdict = "false"
	Conditional Verdict = "only under conditions"
	NotHere     Verdict = "not testable here"
)

// If gives one verdict or the other.
func If(condition bool, yes, no Verdict) Verdict {
	if condition {
		return yes
	}
	return no
}

type finding struct {
	ID       string  `json:"id"`
	Section  string  `json:"section"`
	Claim    string  `json:"claim"`
	Verdict  Verdict `json:"verdict"`
	Measured string  `json:"measured"`
	Go       string  `json:"go"`
	Kernel   string  `json:"kernel"`
}

// Claim prints a finding; section is that of the article.
func Claim(id, section, claim string, verdict Verdict, format string, values ...any) {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	line, err := json.Marshal(finding{
		ID: id, Section: section, Claim: claim, Verdict: verdict,
		Measured: fmt.Sprintf(format, values...),
		Go:       runtime.Version(), Kernel: strings.TrimSpace(string(release)),
	})
	Must(err)
	fmt.Println(string(line))
}

// Must ends the experiment on an error: one that can't run has no result.
func Must(err error) {
	if err != nil {
		panic(err)
	}
}

// Still turns the program's own collections off, so that only those happen that an experiment asks for.
func Still() { debug.SetGCPercent(-1) }

// Publish makes the heap profile current: it lags up to two cycles.
func Publish() {
	for i := 0; i < 3; i++ {
		runtime.GC()
	}
}

// Site is the sum over all records of the heap profile with a function on their stacks.
type Site struct {
	AllocObjects, AllocBytes, InUseObjects, InUseBytes int64
	// Records with the function, and of those the ones where it allocates itself.
	Records, Leaf int
}

// ProfileOf reads the heap profile as it is, raw: not scaled up. An empty name means every record.
func ProfileOf(function string) Site {
	var records []runtime.MemProfileRecord
	n, ok := runtime.MemProfile(nil, true)
	for !ok {
		records = make([]runtime.MemProfileRecord, n+64)
		n, ok = runtime.MemProfile(records, true)
	}
	var site Site
	for _, record := range records[:n] {
		frames := runtime.CallersFrames(record.Stack())
		for first := true; ; {
			frame, more := frames.Next()
			if function == "" || frame.Function == function {
				site.Records++
				if first {
					site.Leaf++
				}
				site.AllocObjects += record.AllocObjects
				site.AllocBytes += record.AllocBytes
				site.InUseObjects += record.InUseObjects()
				site.InUseBytes += record.InUseBytes()
				break
			}
			// Frames of the runtime stand before the one that allocates.
			first = first && strings.HasPrefix(frame.Function, "runtime.")
			if !more {
				break
			}
		}
	}
	return site
}

// Minus is what happened since.
func (s Site) Minus(before Site) Site {
	return Site{
		AllocObjects: s.AllocObjects - before.AllocObjects, AllocBytes: s.AllocBytes - before.AllocBytes,
		InUseObjects: s.InUseObjects - before.InUseObjects, InUseBytes: s.InUseBytes - before.InUseBytes,
		Records: s.Records - before.Records, Leaf: s.Leaf - before.Leaf,
	}
}

// KiB of a field of /proc/self/FILE, e.g. status VmRSS or smaps_rollup LazyFree; -1 if it is not there.
func KiB(file, field string) int64 {
	text, err := os.ReadFile("/proc/self/" + file)
	Must(err)
	for _, line := range strings.Split(string(text), "\n") {
		var kib int64
		if rest, found := strings.CutPrefix(line, field+":"); found {
			if _, err := fmt.Sscan(rest, &kib); err == nil {
				return kib
			}
		}
	}
	return -1
}
