module heaptide.dev/targets/sites

go 1.21
