//go:build pprof

package main

import (
	"flag"
	"os"
	"runtime/pprof"
)

// Linking runtime/pprof keeps runtime.MemProfile reachable; the linker then
// leaves memory profiling on.
func init() {
	path := flag.String("heap-profile", "", "write a heap profile here at the end")
	atEnd = func() error {
		if *path == "" {
			return nil
		}
		f, err := os.Create(*path)
		if err != nil {
			return err
		}
		if err := pprof.Lookup("allocs").WriteTo(f, 0); err != nil {
			f.Close()
			return err
		}
		return f.Close()
	}
}
