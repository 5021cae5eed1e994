module heaptide.dev/tests/exact

go 1.21
