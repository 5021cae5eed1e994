//go:build !cgo || !withcgo

package main

func cgoCall() {}
