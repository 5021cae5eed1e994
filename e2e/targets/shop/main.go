// Command shop is the service that the demo watches: a small web shop with
// memory habits that are worth looking at.
//
//   - search: JSON answers from a catalogue; many small short-lived objects
//   - thumbnails: large pixel buffers, freed at once
//   - product pages: templates
//   - sessions: (*sessionCache).remember keeps a little of every sign-in for
//     ever; this is the leak
//   - the nightly report: a batch job that makes the garbage collector work
//
// A load generator in the same process sends it requests, at most -rps a
// second. It does not import runtime/pprof: like most services, it has no
// profiler linked in.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:0", "address to listen on; port 0 = any free one")
	rps := flag.Int("rps", 100, "requests per second of the load generator, 0..2000; 0 = no load of its own")
	leak := flag.Int64("leak-bytes-per-s", 256<<10, "bytes per second that the session cache never gives back")
	leakMax := flag.Int64("leak-max-bytes", 1<<30, "stop leaking above this many bytes")
	reportEvery := flag.Duration("report-every", 10*time.Second, "how often the batch report runs; 0 = never")
	flag.Parse()
	if *rps < 0 || *rps > 2000 || *leak < 0 || *leakMax < 0 || *reportEvery < 0 {
		fmt.Fprintln(os.Stderr, "shop: a flag is outside its range: -rps 0..2000, the others >= 0")
		os.Exit(2)
	}
	if err := run(*addr, *rps, *leak, *leakMax, *reportEvery); err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

func run(addr string, rps int, leakBytesPerS, leakMaxBytes int64, reportEvery time.Duration) error {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()

	shop := newShop(5000, leakMaxBytes)
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("cannot listen: %w (is the port taken? -addr 127.0.0.1:0 picks a free one)", err)
	}
	server := &http.Server{Handler: shop.routes(), ReadHeaderTimeout: 10 * time.Second}
	fmt.Printf("shop: listening on http://%s pid %d\n", listener.Addr(), os.Getpid())

	if rps > 0 {
		go newCustomers("http://"+listener.Addr().String(), rps, leakBytesPerS).visit(ctx)
	}
	if reportEvery > 0 {
		go shop.reportPeriodically(ctx, reportEvery)
	}
	go func() {
		<-ctx.Done()
		grace, done := context.WithTimeout(context.Background(), 2*time.Second)
		defer done()
		_ = server.Shutdown(grace)
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// shop holds what the handlers share.
type shop struct {
	catalogue *catalogue
	sessions  *sessionCache
	pages     *pageRenderer
}

func newShop(products int, leakMaxBytes int64) *shop {
	return &shop{
		catalogue: newCatalogue(products),
		sessions:  newSessionCache(leakMaxBytes),
		pages:     newPageRenderer(),
	}
}

func (s *shop) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/search", s.handleSearch)
	mux.HandleFunc("/product", s.handleProductPage)
	mux.HandleFunc("/thumbnail", s.handleThumbnail)
	mux.HandleFunc("/sign-in", s.handleSignIn)
	return mux
}
