package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"heaptide.dev/bench/claims/report"
)

var (
	bytesSink   []byte
	pointerSink *[3]*int
)

//go:noinline
func at(depth, n int) byte {
	var frame [96]byte
	if depth > 0 {
		return at(depth-1, n) + frame[depth%96]
	}
	for i := 0; i < n; i++ {
		bytesSink = make([]byte, 100+i%1000)
		pointerSink = new([3]*int)
	}
	return frame[0]
}

// allocateAndTell allocates at all depths of fresh stacks, so that some calls of the allocator
// grow the stack, then says how much was allocated since the start, and ends.
func allocateAndTell() {
	report.Still()
	done := make(chan struct{})
	for round := 0; round < 2000; round++ {
		go func(depth int) {
			at(depth, 5)
			done <- struct{}{}
		}(round % 200)
		<-done
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	var text [24]byte
	line := strconv.AppendUint(text[:0], stats.Mallocs, 10)
	_, _ = syscall.Write(1, line)
	syscall.Exit(0)
}

//go:noinline
func growing(depth int) byte {
	var frame [1024]byte
	if depth > 0 {
		return growing(depth-1) + frame[depth%1024]
	}
	return frame[0]
}

func returning() {
	done := make(chan struct{})
	for i := 0; i < 20; i++ {
		go func() {
			growing(200)
			done <- struct{}{}
		}()
		<-done
	}
}

const (
	muchObjects = 1_000_000
	muchBytes   = 1024
)

// allocateMuch waits for a line, so that the watcher is there first.
func allocateMuch() {
	fmt.Println("ready")
	input := bufio.NewReader(os.Stdin)
	_, _ = input.ReadString('\n')
	for i := 0; i < muchObjects; i++ {
		bytesSink = make([]byte, muchBytes)
	}
	fmt.Println("done")
	_, _ = input.ReadString('\n')
}

func heapWithoutLibc() int {
	for i := 0; i < 100_000; i++ {
		bytesSink = make([]byte, 1000)
	}
	return 100
}
