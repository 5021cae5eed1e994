// Command offsets reads a Go binary's DWARF and prints, as one JSON object, the
// byte offsets of the fields of the runtime's structures that Heaptide reads, and the
// size of each structure under its own name, e.g. {"g.goid":152,"m.curg":184}. Build it with the newest Go: it reads DWARF 4 and 5.
package main

import (
	"debug/dwarf"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	offsets, err := read(os.Args[len(os.Args)-1])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(offsets)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "offsets:", err)
		os.Exit(1)
	}
}

func read(path string) (map[string]int64, error) {
	file, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := file.DWARF()
	if err != nil {
		return nil, err
	}
	short := map[string]string{
		"runtime.g": "g", "runtime.m": "m", "runtime.p": "p", "runtime.gobuf": "gobuf", "runtime.special": "special",
		"runtime.moduledata": "moduledata",
	}
	for _, name := range []string{
		"mheap", "mspan", "mcache", "mstats", "heapStatsDelta", "heapArena", "pageAlloc", "scavengeIndex", "memRecordCycle",
		"atomicScavChunkData",
	} {
		short["runtime."+name] = name
	}
	offsets := make(map[string]int64)
	for entries := data.Reader(); ; {
		entry, err := entries.Next()
		if err != nil || entry == nil {
			return offsets, err
		}
		name, _ := entry.Val(dwarf.AttrName).(string)
		prefix, wanted := short[name]
		if entry.Tag != dwarf.TagStructType || !wanted {
			continue
		}
		kind, err := data.Type(entry.Offset)
		if err != nil {
			return nil, err
		}
		if st, ok := kind.(*dwarf.StructType); ok {
			offsets[prefix] = st.ByteSize
			for _, field := range st.Field {
				offsets[prefix+"."+field.Name] = field.ByteOffset
			}
		}
	}
}
