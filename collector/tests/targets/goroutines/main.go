// Command goroutines has a known number of goroutines in known places, and
// says what the runtime itself makes of them.
//
// It obeys lines on stdin and answers each with one line of JSON: the
// runtime's own dump of all goroutines, and what the line asked for.
//
//	look      nothing more
//	churn     create goroutines from three calls down, and let them end
//	grow      let goroutines need a larger stack, and wait with it
//	gc        collect twice
//	many N    have N goroutines more, which wait
//	busy      have some that never rest
//
// It starts with a look, and ends with stdin.
package main

import (
	"bufio"
	"encoding/json"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

type report struct {
	Pid  int    `json:"pid"`
	Main uint64 `json:"main"`
	// runtime.Stack of all goroutines.
	Dump string `json:"dump"`
	// runtime.NumGoroutine, without those of the runtime.
	Count   int      `json:"count"`
	Leaked  []uint64 `json:"leaked"`
	Created []uint64 `json:"created"`
	Grown   []uint64 `json:"grown"`
}

// What those that are no leak wait for stays reachable.
var (
	held  sync.Mutex
	group sync.WaitGroup
	open  = make(chan int)
)

// A list of ids that goroutines put themselves on.
type list struct {
	sync.Mutex
	ids []uint64
}

func (l *list) add() {
	id := goid()
	l.Lock()
	l.ids = append(l.ids, id)
	l.Unlock()
}

func (l *list) wait(n int) []uint64 {
	for {
		l.Lock()
		if len(l.ids) == n {
			defer l.Unlock()
			return l.ids
		}
		l.Unlock()
		time.Sleep(time.Millisecond)
	}
}

//go:noinline
func receive(l *list) {
	ch := make(chan int)
	l.add()
	<-ch
}

//go:noinline
func send(l *list) {
	ch := make(chan int)
	l.add()
	ch <- 1
}

//go:noinline
func choose(l *list) {
	a, b := make(chan int), make(chan int)
	l.add()
	select {
	case <-a:
	case b <- 1:
	}
}

func leak(l *list) {
	for i := 0; i < 100; i++ {
		go receive(l)
	}
	for i := 0; i < 120; i++ {
		go send(l)
	}
	for i := 0; i < 80; i++ {
		go choose(l)
	}
}

//go:noinline
func sleep(l *list) {
	l.add()
	time.Sleep(1000 * time.Hour)
}

//go:noinline
func lock(l *list) {
	l.add()
	held.Lock()
}

//go:noinline
func join(l *list) {
	l.add()
	group.Wait()
}

//go:noinline
func block(l *list, fd int) {
	l.add()
	var b [1]byte
	_, _ = syscall.Read(fd, b[:])
}

//go:noinline
func down(l *list, depth int) int {
	var room [200]byte
	if depth == 0 {
		l.add()
		<-open
		return int(room[depth])
	}
	return down(l, depth-1) + int(room[depth%200])
}

func others(l *list) {
	held.Lock()
	group.Add(1)
	var pipe [2]int
	must(syscall.Pipe(pipe[:]))
	for i := 0; i < 50; i++ {
		go sleep(l)
	}
	for i := 0; i < 40; i++ {
		go lock(l)
	}
	for i := 0; i < 30; i++ {
		go join(l)
	}
	for i := 0; i < 5; i++ {
		go block(l, pipe[0])
	}
	for i := 0; i < 10; i++ {
		// The same function, at depths of its own.
		go down(l, i)
	}
}

func short(l *list, done *sync.WaitGroup) {
	defer done.Done()
	l.add()
}

//go:noinline
func spawn(l *list, done *sync.WaitGroup) { go short(l, done) }

//go:noinline
func middle(l *list, done *sync.WaitGroup) { spawn(l, done) }

//go:noinline
func churn(l *list, n int) []uint64 {
	var done sync.WaitGroup
	for i := 0; i < n; i++ {
		done.Add(1)
		middle(l, &done)
		if i%100 == 99 {
			done.Wait()
		}
	}
	done.Wait()
	return l.wait(n)
}

//go:noinline
func grow(l *list, n int) []uint64 {
	for i := 0; i < n; i++ {
		go down(l, 20<<(i%6))
	}
	return l.wait(n)
}

//go:noinline
func idle() { <-open }

func many(n int) {
	for i := 0; i < n; i++ {
		go idle()
	}
}

// Two that hand a number to each other, and allocate.
func pair() {
	there, back := make(chan []byte), make(chan []byte)
	go func() {
		for b := range there {
			back <- append([]byte(nil), b...)
		}
	}()
	for {
		there <- make([]byte, 64)
		<-back
	}
}

func main() {
	var leaked, living list
	leak(&leaked)
	others(&living)
	r := report{Pid: os.Getpid(), Main: goid()}
	r.Leaked = leaked.wait(300)
	living.wait(135)
	out := json.NewEncoder(os.Stdout)
	in := bufio.NewScanner(os.Stdin)
	for {
		// Time to arrive where they wait.
		time.Sleep(300 * time.Millisecond)
		r.look()
		must(out.Encode(r))
		if !in.Scan() {
			return
		}
		word, number, _ := strings.Cut(in.Text(), " ")
		switch word {
		case "churn":
			r.Created = churn(new(list), 500)
		case "grow":
			r.Grown = grow(new(list), 30)
		case "gc":
			runtime.GC()
			runtime.GC()
		case "many":
			n, err := strconv.Atoi(number)
			must(err)
			many(n)
		case "busy":
			for i := 0; i < 4; i++ {
				go pair()
			}
		}
	}
}

func (r *report) look() {
	r.Count = runtime.NumGoroutine()
	if r.Count > 10000 {
		r.Dump = ""
		return
	}
	dump := make([]byte, 16<<20)
	r.Dump = string(dump[:runtime.Stack(dump, true)])
}

func goid() uint64 {
	var buf [64]byte
	text := string(buf[:runtime.Stack(buf[:], false)])
	text = strings.TrimPrefix(text, "goroutine ")
	id, err := strconv.ParseUint(text[:strings.IndexByte(text, ' ')], 10, 64)
	must(err)
	return id
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
