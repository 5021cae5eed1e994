package main

import (
	"fmt"
	"strings"
)

// Sizes are exact size classes of Go 1.21 to 1.27 (runtime/sizeclasses.go), or
// multiples of the 8 KiB page above 32 KiB. None is below 16 bytes, where the
// tiny allocator packs several objects into one block. Objects with pointers
// stay at or below 512 bytes, because larger ones carry an 8-byte header since
// Go 1.22 and would be rounded up.

// site is one allocation site: a function, its share of a window's bytes, and
// how many objects it keeps reachable.
type site struct {
	name  string
	share int64
	keep  int
	// alloc allocates one object, stores it in slot and returns its bytes.
	alloc func(w *worker, s *siteState, slot int) int64
}

func allSites() []site {
	return []site{
		{"siteSmall", 4, 4096, siteSmall},
		{"siteStrings", 4, 2048, siteStrings},
		{"siteMap", 4, 2048, siteMap},
		{"siteBuffers", 5, 64, siteBuffers},
		{"siteLarge", 5, 4, siteLarge},
		{"siteLeak", 4, 64, siteLeak},
	}
}

// record holds a pointer, so the collector scans it; 256 bytes.
type record struct {
	next *record
	body [248]byte
}

var (
	bufferSizes = [...]int{4096, 8192, 16384, 6144}
	largeSizes  = [...]int{64 << 10, 128 << 10, 256 << 10, 1 << 20}
	stringSizes = [...]int{48, 96, 240}
)

//go:noinline
func siteSmall(w *worker, s *siteState, slot int) int64 {
	if w.random()%2 == 0 {
		s.slots[slot] = new([64]byte)
		return 64
	}
	s.slots[slot] = new([128]byte)
	return 128
}

//go:noinline
func siteStrings(w *worker, s *siteState, slot int) int64 {
	n := stringSizes[w.random()%uint64(len(stringSizes))]
	s.strings[slot] = string(w.text[:n])
	return int64(n)
}

//go:noinline
func siteMap(_ *worker, s *siteState, slot int) int64 {
	// The keys are all present from the start, so the map itself never grows.
	s.records[uint64(slot)] = &record{}
	return 256
}

//go:noinline
func siteBuffers(w *worker, s *siteState, slot int) int64 {
	n := bufferSizes[w.random()%uint64(len(bufferSizes))]
	s.buffers[slot] = make([]byte, n)
	return int64(n)
}

//go:noinline
func siteLarge(w *worker, s *siteState, slot int) int64 {
	n := largeSizes[w.random()%uint64(len(largeSizes))]
	s.buffers[slot] = make([]byte, n)
	return int64(n)
}

//go:noinline
func siteLeak(_ *worker, s *siteState, slot int) int64 {
	p := new([1024]byte)
	s.last = p
	s.slots[slot] = p
	return 1024
}

func siteNames() []string {
	var names []string
	for _, s := range allSites() {
		names = append(names, s.name)
	}
	return names
}

func chooseSites(list string) ([]site, error) {
	all := allSites()
	if list == "all" {
		return all, nil
	}
	var chosen []site
next:
	for _, name := range strings.Split(list, ",") {
		for _, s := range all {
			if s.name == name {
				chosen = append(chosen, s)
				continue next
			}
		}
		return nil, fmt.Errorf("no site %q: use all, or some of %s", name, strings.Join(siteNames(), ","))
	}
	return chosen, nil
}

func totalShare(sites []site) int64 {
	var sum int64
	for _, s := range sites {
		sum += s.share
	}
	return sum
}

func smallestShare(sites []site) int64 {
	least := sites[0].share
	for _, s := range sites {
		least = min(least, s.share)
	}
	return least
}
