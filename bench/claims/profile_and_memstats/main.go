// Command profile_and_memstats: when MemStats and the heap profile are updated,
// and how far apart they are when everything is sampled.
package main

import (
	"runtime"
	"runtime/metrics"

	"heaptide.dev/bench/claims/report"
)

const objects = 10_000

var (
	sink [objects][]byte
	tiny [objects]*byte
)

//go:noinline
func keep() {
	for i := range sink {
		sink[i] = make([]byte, 1024)
	}
}

//go:noinline
func keepTiny() {
	for i := range tiny {
		tiny[i] = new(byte)
	}
}

func stops() (n uint64) {
	sample := []metrics.Sample{{Name: "/gc/pauses:seconds"}}
	if other := "/sched/pauses/total/other:seconds"; has(other) {
		sample = append(sample, metrics.Sample{Name: other})
	}
	metrics.Read(sample)
	for _, s := range sample {
		for _, count := range s.Value.Float64Histogram().Counts {
			n += count
		}
	}
	return n
}

func has(name string) bool {
	for _, d := range metrics.All() {
		if d.Name == name {
			return true
		}
	}
	return false
}

func main() {
	runtime.MemProfileRate = 1
	report.Still()
	report.Publish()
	profile := report.ProfileOf("main.keep")
	var before, after, again runtime.MemStats
	runtime.ReadMemStats(&before)
	keep()
	runtime.ReadMemStats(&after)
	report.Claim("memstats-at-gc", "2.1", "MemStats is updated atomically after each collection",
		report.If(after.NumGC == before.NumGC && after.Mallocs-before.Mallocs >= objects, report.False, report.True),
		"%d allocations and %d collections between two reads: Mallocs grew by %d. ReadMemStats gathers at the moment of the call",
		objects, after.NumGC-before.NumGC, after.Mallocs-before.Mallocs)

	stopsBefore := stops()
	runtime.ReadMemStats(&again)
	report.Claim("memstats-complete", "2.1", "MemStats is complete and exact, without sampling (100 % of allocations)",
		report.If(after.Mallocs-before.Mallocs >= objects && after.Mallocs-before.Mallocs < objects+100, report.Conditional, report.False),
		"%d counted for %d objects of the Go heap; each read stopped the world %d time(s). Mappings and C memory are outside (see anonymous-mappings)",
		after.Mallocs-before.Mallocs, objects, stops()-stopsBefore)

	// The profile is published by collections.
	var seen [4]int64
	seen[0] = report.ProfileOf("main.keep").Minus(profile).AllocObjects
	for cycle := 1; cycle < len(seen); cycle++ {
		runtime.GC()
		seen[cycle] = report.ProfileOf("main.keep").Minus(profile).AllocObjects
	}
	report.Claim("profile-late", "2.1", "the profile is later than the allocation",
		report.If(seen[0] == 0 && seen[3] >= objects, report.True, report.False),
		"of %d allocations the profile had %d at once, %d after one runtime.GC, %d after two, %d after three",
		objects, seen[0], seen[1], seen[2], seen[3])
	report.Claim("profile-when", "2.1", "the profile is updated at the allocation, MemStats after the GC",
		report.If(seen[0] > 0, report.True, report.False),
		"the other way round: a sample's stack is taken at the allocation but is told after %s, MemStats at once", cyclesUntil(seen[:]))

	whole := report.ProfileOf("main.keep").Minus(profile)
	report.Claim("rate-1-exact", "2.1", "with MemProfileRate = 1 the profile is as exact as MemStats",
		report.If(whole.AllocObjects == objects && tinyProfiled() == objects, report.True,
			report.If(whole.AllocObjects == objects, report.Conditional, report.False)),
		"%d of %d objects of 1 KiB were profiled, and %d of %d of 1 byte: those share blocks of 16 bytes, and the profile has the blocks",
		whole.AllocObjects, objects, tinyProfiled(), objects)
	runtime.KeepAlive(&sink)
	runtime.KeepAlive(&tiny)
}

var tinyOnce int64 = -1

func tinyProfiled() int64 {
	if tinyOnce < 0 {
		keepTiny()
		report.Publish()
		tinyOnce = report.ProfileOf("main.keepTiny").AllocObjects
	}
	return tinyOnce
}

func cyclesUntil(seen []int64) string {
	for cycle, n := range seen {
		if n >= objects {
			return []string{"no collection", "one collection", "two collections", "three collections"}[cycle]
		}
	}
	return "more than three collections"
}
