//go:build cgo && withcgo

package main

// static int twice(int n) { return 2 * n; }
import "C"

// With C code in front, .text does not begin with Go's text.
func cgoCall() { sink = int(C.twice(C.int(zero))) }
