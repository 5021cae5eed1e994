module heaptide.dev/targets/shop

go 1.21
