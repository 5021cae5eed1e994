// Command allocs allocates many small objects below a stack of known depth, and
// says what that cost it: the load against which exact windows are measured.
//
// Life: print a "ready" line, then for each line on stdin allocate once and
// print one JSON object, until stdin ends.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"syscall"
)

type node struct {
	next *node
	cell [2]int
}

type round struct {
	Objects int    `json:"objects"`
	Mallocs uint64 `json:"mallocs"`
	CPUNs   int64  `json:"cpu_ns"`
}

var (
	nodes [64]*node
	bytes [64][]byte
	sum   int
)

//go:noinline
func deep(objects, depth int) int {
	if depth > 0 {
		return deep(objects, depth-1) + 1
	}
	return allocate(objects)
}

//go:noinline
func allocate(objects int) int {
	for i := 0; i < objects/2; i++ {
		nodes[i%len(nodes)] = &node{}
		bytes[i%len(bytes)] = make([]byte, 32+i%4*16)
	}
	return objects
}

func cpu() int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

func main() {
	objects := flag.Int("objects", 200_000, "objects to allocate for each line")
	depth := flag.Int("depth", 8, "calls between main and the allocation")
	flag.Parse()
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := cpu()
		sum += deep(*objects, *depth)
		ended := cpu()
		runtime.ReadMemStats(&after)
		r := round{*objects, after.Mallocs - before.Mallocs, ended - began}
		if err := out.Encode(r); err != nil {
			panic(err)
		}
	}
}
