module heaptide.dev/tests/events

go 1.21
