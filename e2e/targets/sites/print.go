package main

import (
	"os"
	"runtime"
	"strconv"
)

// printer writes JSON lines from one reused buffer: its own allocations would
// be noise in the counts.
type printer struct{ b []byte }

func newPrinter() *printer { return &printer{b: make([]byte, 0, 4096)} }

func (p *printer) begin(event string) {
	p.b = append(p.b[:0], `{"event":"`...)
	p.b = append(p.b, event...)
	p.b = append(p.b, '"')
}

func (p *printer) num(key string, v int64) {
	p.b = append(p.b, `,"`...)
	p.b = append(p.b, key...)
	p.b = append(p.b, `":`...)
	p.b = strconv.AppendInt(p.b, v, 10)
}

func (p *printer) text(key, v string) {
	p.b = append(p.b, `,"`...)
	p.b = append(p.b, key...)
	p.b = append(p.b, `":`...)
	p.b = strconv.AppendQuote(p.b, v)
}

func (p *printer) flush() {
	p.b = append(p.b, "}\n"...)
	if _, err := os.Stdout.Write(p.b); err != nil {
		os.Exit(1) // nobody listens any more
	}
}

func (p *printer) sites(g *group) {
	p.b = append(p.b, `,"sites":{`...)
	for i, s := range g.workers[0].sites {
		if i > 0 {
			p.b = append(p.b, ',')
		}
		bytes, objects, live := g.sum(i)
		p.b = strconv.AppendQuote(p.b, "main."+s.name)
		p.b = append(p.b, `:{"bytes":`...)
		p.b = strconv.AppendInt(p.b, bytes, 10)
		p.num("objects", objects)
		p.num("live_bytes", live)
		p.b = append(p.b, '}')
	}
	p.b = append(p.b, '}')
}

func (p *printer) ready(g *group, windowBytes int64) {
	p.begin("ready")
	p.num("pid", int64(os.Getpid()))
	p.text("go", runtime.Version())
	p.num("mem_profile_rate", int64(runtime.MemProfileRate))
	p.num("window_bytes", windowBytes)
	p.num("workers", int64(len(g.workers)))
	p.flush()
}

// window prints the totals since the start, not of this window alone.
func (p *printer) window(i int, beginNs, endNs int64, g *group) {
	p.begin("window")
	p.num("window", int64(i))
	p.num("begin_ns", beginNs)
	p.num("end_ns", endNs)
	p.sites(g)
	p.flush()
}

// end prints runtime.MemStats: total_alloc and mallocs since the first window,
// the rest as they are now.
func (p *printer) end(before, after *runtime.MemStats, g *group) {
	p.begin("end")
	p.num("now_ns", monotonicNs())
	p.num("total_alloc_bytes", int64(after.TotalAlloc-before.TotalAlloc))
	p.num("mallocs", int64(after.Mallocs-before.Mallocs))
	p.num("heap_alloc_bytes", int64(after.HeapAlloc))
	p.num("pause_total_ns", int64(after.PauseTotalNs))
	p.num("num_gc", int64(after.NumGC))
	p.num("num_forced_gc", int64(after.NumForcedGC))
	p.num("mem_profile_rate", int64(runtime.MemProfileRate))
	p.sites(g)
	p.flush()
}

func (p *printer) state() {
	p.begin("state")
	p.num("now_ns", monotonicNs())
	p.num("mem_profile_rate", int64(runtime.MemProfileRate))
	p.flush()
}
