//go:build !withcgo

package main

const nativeBytes = 0

func native() {}
