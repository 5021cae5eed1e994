package main

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"net/http"
)

const (
	photoWidth, photoHeight = 800, 600
	thumbnailScale          = 5
)

// handleThumbnail makes a product's photo and scales it down: 1.9 MB of pixels
// for a few kilobytes of answer.
func (s *shop) handleThumbnail(w http.ResponseWriter, r *http.Request) {
	p, ok := s.productOf(w, r)
	if !ok {
		return
	}
	encoded, err := encodeThumbnail(scaleDown(decodePhoto(p), thumbnailScale))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "image/jpeg")
	_, _ = w.Write(encoded)
}

// decodePhoto stands in for reading a picture file.
func decodePhoto(p product) *image.RGBA {
	photo := image.NewRGBA(image.Rect(0, 0, photoWidth, photoHeight))
	for y := 0; y < photoHeight; y += thumbnailScale {
		row := photo.Pix[y*photo.Stride : (y+1)*photo.Stride]
		for x := 0; x < photoWidth; x += thumbnailScale {
			row[x*4], row[x*4+1], row[x*4+2], row[x*4+3] = byte(x+p.ID), byte(y), byte(x^y), 255
		}
	}
	return photo
}

func scaleDown(photo *image.RGBA, factor int) *image.RGBA {
	size := photo.Bounds().Size()
	small := image.NewRGBA(image.Rect(0, 0, size.X/factor, size.Y/factor))
	for y := 0; y < size.Y/factor; y++ {
		for x := 0; x < size.X/factor; x++ {
			at := photo.PixOffset(x*factor, y*factor)
			small.SetRGBA(x, y, color.RGBA{photo.Pix[at], photo.Pix[at+1], photo.Pix[at+2], 255})
		}
	}
	return small
}

func encodeThumbnail(small *image.RGBA) ([]byte, error) {
	var out bytes.Buffer
	err := jpeg.Encode(&out, small, &jpeg.Options{Quality: 75})
	return out.Bytes(), err
}
