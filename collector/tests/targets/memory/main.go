// Command memory holds memory of every kind and says how much, without
// allocating while it says so: what it prints still holds when it is read from
// outside.
//
// Life: print "ready", then answer one line on stdin with one line on stdout,
// until stdin ends. Lines: "stats" (collect, then runtime.MemStats), "alloc"
// (1000 small objects), "tiny" (1000 objects of 4 bytes), "profile" (collect,
// then the totals of runtime.MemProfile), "fill" (heap, goroutine stacks and a
// mapping, all touched), "pad" (huge pages under the heap, of which every other
// part is then free).
package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"unsafe"
)

// Every 4 KiB on the mean, from the first package variable on.
var _ = func() bool { runtime.MemProfileRate = 4096; return true }()

const (
	mappedBytes = 32 << 20
	chunkBytes  = 1 << 20
	chunks      = 96
	goroutines  = 50
)

var (
	in      [64]byte
	out     []byte
	small   [16000]*[64]byte
	smalls  int
	tinies  [16000]*int32
	tiny    int
	heap    [chunks][]byte
	mapped  []byte
	stats   runtime.MemStats
	records []runtime.MemProfileRecord
	block   = make(chan struct{})
	deep    sync.WaitGroup
)

func say(name string, values ...uint64) {
	out = append(out[:0], name...)
	for _, value := range values {
		out = append(out, ' ')
		out = strconv.AppendUint(out, value, 10)
	}
	out = append(out, '\n')
	syscall.Write(1, out)
}

func main() {
	out = make([]byte, 0, 4096)
	records = make([]runtime.MemProfileRecord, 4096)
	for i := range records {
		records[i].AllocObjects = 1 // touched
	}
	debug.SetGCPercent(-1)
	native()
	say("ready", nativeBytes)
	for {
		n, err := syscall.Read(0, in[:])
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			os.Exit(0)
		}
		switch in[0] {
		case 's':
			runtime.GC()
			runtime.ReadMemStats(&stats)
			say("stats", stats.TotalAlloc, stats.Mallocs, stats.Frees, stats.HeapInuse,
				stats.HeapIdle-stats.HeapReleased, stats.HeapReleased, stats.StackInuse,
				stats.MSpanSys+stats.MCacheSys+stats.BuckHashSys+stats.GCSys+stats.OtherSys)
		case 'a':
			allocate(1000)
			say("alloc")
		case 't':
			for end := tiny + 1000; tiny < end; tiny++ {
				tinies[tiny] = new(int32)
			}
			say("tiny")
		case 'p':
			if in[1] == 'r' {
				profile()
			} else {
				pad()
			}
		case 'f':
			fill()
			say("fill", mappedBytes, chunks*chunkBytes)
		}
	}
}

//go:noinline
func allocate(n int) {
	for end := smalls + n; smalls < end; smalls++ {
		small[smalls] = new([64]byte)
	}
}

func profile() {
	// What was sampled before a collection is published by the next but one.
	for i := 0; i < 3; i++ {
		runtime.GC()
	}
	n, ok := runtime.MemProfile(records, true)
	if !ok {
		n = 0
	}
	var allocs, bytes, frees, freed, held uint64
	for i := range records[:n] {
		r := &records[i]
		allocs += uint64(r.AllocObjects)
		bytes += uint64(r.AllocBytes)
		frees += uint64(r.FreeObjects)
		freed += uint64(r.FreeBytes)
		for _, pc := range r.Stack() {
			if f := runtime.FuncForPC(pc - 1); f != nil && f.Name() == "main.allocate" {
				held += uint64(r.AllocObjects)
				break
			}
		}
	}
	say("profile", uint64(n), allocs, bytes, frees, freed, held)
}

func fill() {
	for i := range heap {
		heap[i] = make([]byte, chunkBytes)
		touch(heap[i])
	}
	mapped, _ = syscall.Mmap(-1, 0, mappedBytes, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_PRIVATE|syscall.MAP_ANON)
	touch(mapped)
	deep.Add(goroutines)
	for i := 0; i < goroutines; i++ {
		go dive(100)
	}
	deep.Wait()
}

func touch(bytes []byte) {
	for i := 0; i < len(bytes); i += 4096 {
		bytes[i] = 1
	}
}

//go:noinline
func dive(depth int) byte {
	var frame [1024]byte
	frame[depth] = byte(depth)
	if depth > 0 {
		return frame[depth] + dive(depth-1)
	}
	deep.Done()
	<-block
	return frame[0]
}

// pad asks for huge pages under the heap's chunks, then drops every other one.
func pad() {
	const collapse = 25
	var done uint64
	for i := range heap {
		at := uintptr(unsafe.Pointer(&heap[i][0])) &^ (2<<20 - 1)
		_, _, errno := syscall.Syscall(syscall.SYS_MADVISE, at, 2<<20, collapse)
		if errno == 0 {
			done++
		}
	}
	for i := 0; i < len(heap); i += 2 {
		heap[i] = nil
	}
	runtime.GC()
	runtime.GC()
	say("pad", done)
}
