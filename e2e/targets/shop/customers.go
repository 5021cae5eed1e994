package main

import (
	"context"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"net/url"
	"time"
)

const (
	// At most this many requests are under way; further ones are skipped, so
	// a slow shop is never buried.
	maxOpenRequests = 16
	// One request in so many signs in (and leaks).
	signInEvery = 8
)

// customers is the load generator.
type customers struct {
	base         string
	client       *http.Client
	rps          int
	historyBytes int64 // per sign-in, so that the leak has the rate asked for
	open         chan struct{}
}

func newCustomers(base string, rps int, leakBytesPerS int64) *customers {
	transport := &http.Transport{MaxIdleConnsPerHost: maxOpenRequests}
	return &customers{
		base:         base,
		client:       &http.Client{Transport: transport, Timeout: 5 * time.Second},
		rps:          rps,
		historyBytes: min(leakBytesPerS*signInEvery/int64(rps), 64<<20),
		open:         make(chan struct{}, maxOpenRequests),
	}
}

// visit sends requests at an even pace until ctx ends.
func (c *customers) visit(ctx context.Context) {
	ticker := time.NewTicker(time.Second / time.Duration(c.rps))
	defer ticker.Stop()
	rng := rand.New(rand.NewSource(7))
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		address := c.nextURL(rng, n)
		select {
		case c.open <- struct{}{}:
			go c.fetch(ctx, address)
		default:
		}
	}
}

func (c *customers) nextURL(rng *rand.Rand, n int) string {
	if n%signInEvery == 0 {
		return fmt.Sprintf("%s/sign-in?user=visitor-%d&history=%d", c.base, n, c.historyBytes)
	}
	switch k := rng.Intn(10); {
	case k < 5:
		query := adjectives[rng.Intn(len(adjectives))] + " " + nouns[rng.Intn(len(nouns))]
		return c.base + "/search?q=" + url.QueryEscape(query)
	case k < 8:
		return fmt.Sprintf("%s/product?id=%d", c.base, rng.Intn(5000))
	default:
		return fmt.Sprintf("%s/thumbnail?id=%d", c.base, rng.Intn(5000))
	}
}

func (c *customers) fetch(ctx context.Context, address string) {
	defer func() { <-c.open }()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return
	}
	response, err := c.client.Do(request)
	if err != nil {
		return // the shop is closing
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
}
