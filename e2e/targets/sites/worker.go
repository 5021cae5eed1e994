package main

import "sync"

// siteState is what one worker holds for one site. The containers are made
// before the first window, so that a window allocates the sites' objects only.
type siteState struct {
	site
	bytes, objects, liveBytes int64
	quota                     int64 // bytes still to allocate in this window

	next    int
	held    []int64 // bytes in each slot
	slots   []any
	strings []string
	buffers [][]byte
	records map[uint64]*record

	last      *[1024]byte
	leaked    []*[1024]byte
	leakEvery int64 // keep one object in so many; 0 = none
}

// worker is one allocating goroutine with its own random sequence and counts.
type worker struct {
	seed  uint64
	text  []byte
	sites []*siteState
	start chan int64
}

type group struct {
	workers []*worker
	done    sync.WaitGroup
	share   int64 // window bytes of one worker
}

func newGroup(n int, sites []site, seed, windowBytes int64, leak bool, leakBytes int64) *group {
	g := &group{share: windowBytes / int64(n)}
	for i := 0; i < n; i++ {
		w := &worker{seed: uint64(seed)*0x9e3779b97f4a7c15 + uint64(i+1), text: make([]byte, 256), start: make(chan int64)}
		for _, s := range sites {
			w.sites = append(w.sites, newSiteState(s))
		}
		if leak {
			siteBytes := int64(0)
			for _, s := range sites {
				if s.name == "siteLeak" {
					siteBytes = windowBytes * s.share / totalShare(sites)
				}
			}
			for _, s := range w.sites {
				if s.name == "siteLeak" {
					s.leakEvery = max(1, siteBytes/leakBytes)
				}
			}
		}
		g.workers = append(g.workers, w)
		go w.run(&g.done)
	}
	return g
}

func newSiteState(s site) *siteState {
	st := &siteState{site: s, held: make([]int64, s.keep)}
	st.slots = make([]any, s.keep)
	st.strings = make([]string, s.keep)
	st.buffers = make([][]byte, s.keep)
	st.records = make(map[uint64]*record, s.keep)
	if s.name == "siteMap" {
		for i := 0; i < s.keep; i++ {
			st.records[uint64(i)] = nil
		}
	}
	return st
}

// runWindow lets every worker allocate its share and waits for all.
func (g *group) runWindow() {
	g.done.Add(len(g.workers))
	for _, w := range g.workers {
		w.start <- g.share
	}
	g.done.Wait()
}

// sum adds up a site over the workers. Call it between windows only.
func (g *group) sum(site int) (bytes, objects, live int64) {
	for _, w := range g.workers {
		s := w.sites[site]
		bytes += s.bytes
		objects += s.objects
		live += s.liveBytes
	}
	return bytes, objects, live
}

func (w *worker) run(done *sync.WaitGroup) {
	for bytes := range w.start {
		w.window(bytes)
		done.Done()
	}
}

// window mixes the sites at random until each has had its share. A site's last
// object may go over its quota; that is taken off its next window.
func (w *worker) window(bytes int64) {
	var total int64
	for _, s := range w.sites {
		total += s.share
	}
	open := 0
	for _, s := range w.sites {
		s.quota += bytes * s.share / total
		if s.quota > 0 {
			open++
		}
	}
	for open > 0 {
		s := w.sites[w.random()%uint64(len(w.sites))]
		// As many objects as make about 16 KiB, so that sites of small and of
		// large objects run out at about the same time.
		for burst := int64(0); burst < 16<<10 && s.quota > 0; {
			n := w.one(s)
			burst += n
			s.quota -= n
			if s.quota <= 0 {
				open--
			}
		}
	}
}

func (w *worker) one(s *siteState) int64 {
	slot := s.next
	s.next = (s.next + 1) % s.keep
	n := s.alloc(w, s, slot)
	s.bytes += n
	s.objects++
	s.liveBytes += n - s.held[slot]
	s.held[slot] = n
	if s.leakEvery > 0 && s.objects%s.leakEvery == 0 {
		w.keepLeaked(s)
		// The slot no longer owns it: it stays live after the slot is reused.
		s.held[slot] = 0
	}
	return n
}

//go:noinline
func (w *worker) keepLeaked(s *siteState) {
	s.leaked = append(s.leaked, s.last)
}

// random is xorshift64*: small, and the same in every Go version.
func (w *worker) random() uint64 {
	w.seed ^= w.seed >> 12
	w.seed ^= w.seed << 25
	w.seed ^= w.seed >> 27
	return (w.seed * 0x2545f4914f6cdd1d) >> 32
}
