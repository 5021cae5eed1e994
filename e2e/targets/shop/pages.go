package main

import (
	"html/template"
	"net/http"
)

const productPage = `<!doctype html><title>{{.Product.Name}}</title>
<h1>{{.Product.Name}}</h1><p>{{.Product.About}}</p><p>{{price .Product.PriceCents}}</p>
<ul>{{range .Related}}<li><a href="/product?id={{.ID}}">{{.Name}}</a> {{price .PriceCents}}</li>{{end}}</ul>
`

type pageRenderer struct{ product *template.Template }

type productView struct {
	Product product
	Related []searchHit
}

func newPageRenderer() *pageRenderer {
	funcs := template.FuncMap{"price": formatPrice}
	return &pageRenderer{product: template.Must(template.New("product").Funcs(funcs).Parse(productPage))}
}

func (s *shop) handleProductPage(w http.ResponseWriter, r *http.Request) {
	p, ok := s.productOf(w, r)
	if !ok {
		return
	}
	s.pages.renderProduct(w, productView{Product: p, Related: s.catalogue.search(p.Tags[1], 8)})
}

func (r *pageRenderer) renderProduct(w http.ResponseWriter, view productView) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = r.product.Execute(w, view) // the client may have gone
}
