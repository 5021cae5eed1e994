package main

import (
	"context"
	"fmt"
	"math/rand"
	"sort"
	"strings"
	"time"
)

const ordersPerReport = 150_000

type order struct {
	customer   string
	product    *product
	priceCents int
	next       *order
}

// reportPeriodically runs the batch job that a real shop would run at night.
func (s *shop) reportPeriodically(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for run := int64(1); ; run++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.nightlyReport(run)
		}
	}
}

// nightlyReport holds a day's orders at once: a linked graph of small objects
// that the garbage collector has to walk, all of it garbage a moment later.
func (s *shop) nightlyReport(run int64) string {
	byCustomer := s.loadOrders(rand.New(rand.NewSource(run)))
	return summarize(byCustomer)
}

func (s *shop) loadOrders(rng *rand.Rand) map[string]*order {
	byCustomer := make(map[string]*order)
	for i := 0; i < ordersPerReport; i++ {
		p := &s.catalogue.products[rng.Intn(len(s.catalogue.products))]
		customer := fmt.Sprintf("customer-%04d", rng.Intn(2000))
		byCustomer[customer] = &order{customer: customer, product: p, priceCents: p.PriceCents, next: byCustomer[customer]}
	}
	return byCustomer
}

func summarize(byCustomer map[string]*order) string {
	var lines []string
	for customer, orders := range byCustomer {
		total := 0
		for o := orders; o != nil; o = o.next {
			total += o.priceCents
		}
		lines = append(lines, customer+" "+formatPrice(total))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

func formatPrice(cents int) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }
