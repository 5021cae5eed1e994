//go:build withcgo

package main

// #include <stdlib.h>
// #include <string.h>
// static char *volatile held;
// static void hold(size_t bytes) { held = malloc(bytes); memset(held, 1, bytes); }
import "C"

const nativeBytes = 16 << 20

// native holds memory of C.
func native() { C.hold(nativeBytes) }
