module heaptide.dev/targets/goroutines

go 1.21
