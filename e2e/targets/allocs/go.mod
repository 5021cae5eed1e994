module heaptide.dev/targets/allocs

go 1.21
