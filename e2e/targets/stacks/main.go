// Command stacks allocates under as many different stacks as it is told, at a
// steady rate, and has every allocation sampled: the load of `bench -- memory`.
//
//	stacks -stacks 50000 -rate 10000 -live 20000
//
// Two functions call each other or themselves, 16 deep; which does is a bit of
// the stack's number. A line of JSON per second says what has been done.
package main

import (
	"encoding/json"
	"flag"
	"os"
	"runtime"
	"time"
)

const depth = 16

type report struct {
	Pid       int    `json:"pid"`
	Allocated uint64 `json:"allocated"`
	Stacks    int    `json:"stacks"`
}

var live [][]byte

//go:noinline
func zero(path uint32, left int) []byte {
	if left == 0 {
		return make([]byte, 64)
	}
	if path&1 == 0 {
		return zero(path>>1, left-1)
	}
	return one(path>>1, left-1)
}

//go:noinline
func one(path uint32, left int) []byte {
	if left == 0 {
		return make([]byte, 64)
	}
	if path&1 == 0 {
		return zero(path>>1, left-1)
	}
	return one(path>>1, left-1)
}

func main() {
	stacks := flag.Int("stacks", 50_000, "different stacks, at most 65536")
	rate := flag.Int("rate", 10_000, "allocations a second")
	keep := flag.Int("live", 20_000, "objects that stay alive")
	flag.Parse()
	runtime.MemProfileRate = 1
	live = make([][]byte, *keep)
	out := json.NewEncoder(os.Stdout)
	begin := time.Now()
	var done uint64
	told := 0
	for {
		due := uint64(time.Since(begin).Seconds() * float64(*rate))
		for ; done < due; done++ {
			at := int(done % uint64(*stacks))
			live[done%uint64(*keep)] = zero(uint32(at), depth)
		}
		if second := int(time.Since(begin).Seconds()); second > told {
			told = second
			seen := *stacks
			if done < uint64(seen) {
				seen = int(done)
			}
			_ = out.Encode(report{os.Getpid(), done, seen})
		}
		time.Sleep(2 * time.Millisecond)
	}
}
