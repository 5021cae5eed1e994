module heaptide.dev/tests/hits

go 1.21
