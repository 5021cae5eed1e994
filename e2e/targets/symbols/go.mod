module heaptide.dev/targets/symbols

go 1.21
