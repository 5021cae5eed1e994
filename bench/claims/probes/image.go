package main

import (
	"bytes"
	"debug/elf"
	"debug/gosym"

	"heaptide.dev/bench/claims/report"
)

// image is this program on disk, read as a tool would read one without symbols.
type image struct {
	path    string
	file    *elf.File
	table   *gosym.Table
	hasUSDT bool
}

func open(path string) *image {
	file, err := elf.Open(path)
	report.Must(err)
	lines, err := file.Section(".gopclntab").Data()
	report.Must(err)
	table, err := gosym.NewTable(nil, gosym.NewLineTable(lines, file.Section(".text").Addr))
	report.Must(err)
	return &image{path: path, file: file, table: table, hasUSDT: file.Section(".note.stapsdt") != nil}
}

func (i *image) has(name string) bool { return i.table.LookupFunc(name) != nil }

// leaves are the allocators of Go 1.27: the compiler calls those for small sizes directly, and
// mallocgc calls one of them in its turn.
func (i *image) leaves() (names []string) {
	for n := range i.table.Funcs {
		name := i.table.Funcs[n].Name
		switch name {
		case "runtime.mallocgcSmallNoscan", "runtime.mallocgcSmallScanNoHeader", "runtime.mallocgcSmallScanHeader", "runtime.mallocgcLarge":
			names = append(names, name)
		}
		for _, prefix := range []string{"runtime.mallocgcTinySC", "runtime.mallocgcSmallNoScanSC", "runtime.mallocgcSmallScanNoHeaderSC"} {
			rest, is := bytes.CutPrefix([]byte(name), []byte(prefix))
			if is && len(rest) > 0 && len(bytes.Trim(rest, "0123456789")) == 0 {
				names = append(names, name)
			}
		}
	}
	return names
}

func (i *image) fileOffset(name string) uint64 {
	entry := i.table.LookupFunc(name).Entry
	for _, part := range i.file.Progs {
		if part.Type == elf.PT_LOAD && part.Vaddr <= entry && entry < part.Vaddr+part.Filesz {
			return entry - part.Vaddr + part.Off
		}
	}
	panic("no such code: " + name)
}

// behindCheck is the distance from a function's entry to its PUSHQ BP, behind the stack check.
func (i *image) behindCheck(name string) uint64 {
	code := make([]byte, 32)
	for _, part := range i.file.Progs {
		if entry := i.table.LookupFunc(name).Entry; part.Type == elf.PT_LOAD && part.Vaddr <= entry && entry < part.Vaddr+part.Filesz {
			_, err := part.ReadAt(code, int64(entry-part.Vaddr))
			report.Must(err)
		}
	}
	at := 0
	switch {
	case bytes.HasPrefix(code, []byte{0x4c, 0x8d, 0x64, 0x24}):
		at = 5
	case bytes.HasPrefix(code, []byte{0x4c, 0x8d, 0xa4, 0x24}):
		at = 8
	}
	at += 4 // CMPQ 16(R14), SP or R12
	if code[at] == 0x76 {
		at += 2
	} else {
		at += 6
	}
	if code[at] != 0x55 {
		panic("no PUSHQ BP behind the stack check of " + name)
	}
	return uint64(at)
}
