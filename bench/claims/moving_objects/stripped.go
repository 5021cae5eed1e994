package main

import (
	"debug/elf"

	"heaptide.dev/bench/claims/report"
)

func stripped(path string) bool {
	file, err := elf.Open(path)
	report.Must(err)
	defer file.Close()
	_, err = file.Symbols()
	return err != nil && file.Section(".debug_info") == nil && file.Section(".zdebug_info") == nil
}
