package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"heaptide.dev/bench/claims/report"
)

const (
	tracefs = "/sys/kernel/tracing"
	group   = "heaptide_claims"
)

// tracing is the kernel's uprobes, by its text files (Documentation/trace/uprobetracer.rst).
type tracing struct{ names []string }

func openTracing() (*tracing, string) {
	file, err := os.OpenFile(filepath.Join(tracefs, "uprobe_events"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, fmt.Sprintf("needs root, and tracefs in %s: %v", tracefs, err)
	}
	_ = file.Close()
	return &tracing{}, ""
}

func write(name, text string) error {
	file, err := os.OpenFile(filepath.Join(tracefs, name), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Close())
}

// probe puts one in: kind p at an instruction, r at a function's returns.
func (t *tracing) probe(kind byte, name string, image *image, function string, into uint64) {
	event := fmt.Sprintf("%c:%s/%s %s:%#x\n", kind, group, name, image.path, image.fileOffset(function)+into)
	report.Must(write("uprobe_events", event))
	t.names = append(t.names, name)
	report.Must(write(filepath.Join("events", group, name, "enable"), "1"))
}

func (t *tracing) hits() map[string]int64 {
	file, err := os.Open(filepath.Join(tracefs, "uprobe_profile"))
	report.Must(err)
	defer file.Close()
	hits := map[string]int64{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var path, name string
		var n int64
		if count, _ := fmt.Sscan(lines.Text(), &path, &name, &n); count == 3 {
			hits[name] = n
		}
	}
	return hits
}

func (t *tracing) clear() {
	for _, name := range t.names {
		report.Must(write(filepath.Join("events", group, name, "enable"), "0"))
		report.Must(write("uprobe_events", fmt.Sprintf("-:%s/%s\n", group, name)))
	}
	t.names = nil
}

// mmapCalls counts the mapping calls of a child that allocates, in a trace instance of our own.
func mmapCalls(trace *tracing, path string) {
	const instance = "instances/" + group
	folder := filepath.Join(tracefs, instance)
	if err := os.Mkdir(folder, 0o700); err != nil && !os.IsExist(err) {
		report.Claim("mmap-events", "1", mmapEvents, report.NotHere, "no trace instance: %v", err)
		return
	}
	defer os.Remove(folder)
	child := exec.Command(path)
	child.Env = append(os.Environ(), "CLAIMS_CHILD=mmap")
	input, err := child.StdinPipe()
	report.Must(err)
	output, err := child.StdoutPipe()
	report.Must(err)
	report.Must(child.Start())
	lines := bufio.NewReader(output)
	expect := func(word string) {
		line, err := lines.ReadString('\n')
		report.Must(err)
		if strings.TrimSpace(line) != word {
			panic("the child said " + line)
		}
	}
	expect("ready")
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", child.Process.Pid))
	report.Must(err)
	report.Must(write(instance+"/options/event-fork", "1"))
	for _, thread := range threads {
		report.Must(write(instance+"/set_event_pid", thread.Name()+"\n"))
	}
	report.Must(write(instance+"/events/syscalls/sys_enter_mmap/enable", "1"))
	_, err = io.WriteString(input, "go\n")
	report.Must(err)
	expect("done")
	report.Must(write(instance+"/events/syscalls/sys_enter_mmap/enable", "0"))
	text, err := os.ReadFile(filepath.Join(folder, "trace"))
	report.Must(err)
	calls := strings.Count(string(text), "sys_mmap(")
	report.Must(input.Close())
	report.Must(child.Wait())
	report.Claim("mmap-events", "1", mmapEvents, report.If(calls > muchObjects/1000, report.True, report.False),
		"%d allocations of %d bytes made %d mmap calls: they show when the heap grows, not who fills it", muchObjects, muchBytes, calls)
}
