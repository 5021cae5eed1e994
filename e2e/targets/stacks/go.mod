module heaptide.dev/targets/stacks

go 1.21
