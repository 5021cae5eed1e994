module heaptide.dev/tests/memory

go 1.21
