package main

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"net/http"
	"sort"
	"strconv"
	"strings"
)

type product struct {
	ID         int      `json:"id"`
	Name       string   `json:"name"`
	Tags       []string `json:"tags"`
	PriceCents int      `json:"price_cents"`
	About      string   `json:"about"`
}

type searchHit struct {
	product
	Score float64 `json:"score"`
}

type catalogue struct {
	products []product
	byTag    map[string][]int
}

var (
	adjectives = []string{"red", "quiet", "folding", "oak", "brass", "woollen", "small", "garden", "blue", "heavy"}
	nouns      = []string{"lamp", "chair", "kettle", "blanket", "clock", "table", "basket", "shelf", "mirror", "rug"}
)

func newCatalogue(n int) *catalogue {
	rng := rand.New(rand.NewSource(1))
	c := &catalogue{byTag: make(map[string][]int)}
	for id := 0; id < n; id++ {
		adjective, noun := adjectives[rng.Intn(len(adjectives))], nouns[rng.Intn(len(nouns))]
		c.products = append(c.products, product{
			ID:         id,
			Name:       fmt.Sprintf("%s %s no. %d", adjective, noun, id),
			Tags:       []string{adjective, noun},
			PriceCents: 500 + rng.Intn(50000),
			About:      strings.Repeat("A "+adjective+" "+noun+" for every day. ", 3),
		})
		c.byTag[adjective] = append(c.byTag[adjective], id)
		c.byTag[noun] = append(c.byTag[noun], id)
	}
	return c
}

// search ranks the products that carry any of the words.
func (c *catalogue) search(query string, limit int) []searchHit {
	var hits []searchHit
	for _, word := range strings.Fields(strings.ToLower(query)) {
		for _, id := range c.byTag[word] {
			p := c.products[id]
			hits = append(hits, searchHit{product: p, Score: c.score(p, query)})
			if len(hits) == 400 {
				break
			}
		}
	}
	sort.Slice(hits, func(i, j int) bool { return hits[i].Score > hits[j].Score })
	if len(hits) > limit {
		hits = hits[:limit]
	}
	return hits
}

func (c *catalogue) score(p product, query string) float64 {
	matched := 0
	for _, word := range strings.Fields(query) {
		if strings.Contains(p.Name, word) {
			matched++
		}
	}
	return float64(matched) + 1/float64(p.PriceCents)
}

func (c *catalogue) product(id int) (product, bool) {
	if id < 0 || id >= len(c.products) {
		return product{}, false
	}
	return c.products[id], true
}

func (s *shop) handleSearch(w http.ResponseWriter, r *http.Request) {
	hits := s.catalogue.search(r.FormValue("q"), 50)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(hits) // the client may have gone
}

// productOf reads ?id=, answering 404 itself when there is no such product.
func (s *shop) productOf(w http.ResponseWriter, r *http.Request) (product, bool) {
	id, err := strconv.Atoi(r.FormValue("id"))
	p, ok := s.catalogue.product(id)
	if err != nil || !ok {
		http.NotFound(w, r)
		return product{}, false
	}
	return p, true
}
