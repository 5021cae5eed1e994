module heaptide.dev/bench/claims

go 1.21
