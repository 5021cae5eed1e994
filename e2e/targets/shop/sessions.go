package main

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
)

// session is what the shop remembers of a visitor.
type session struct {
	user    string
	history []byte // pages that the visitor has seen, never shortened
}

// sessionCache leaks: every sign-in makes a new session, and none is ever
// dropped. Its limit keeps a demo that runs for a day from filling the machine.
type sessionCache struct {
	mu        sync.Mutex
	sessions  []*session
	heldBytes int64
	maxBytes  int64
}

func newSessionCache(maxBytes int64) *sessionCache { return &sessionCache{maxBytes: maxBytes} }

// remember keeps a session for ever. This is the leak of the demo.
//
//go:noinline
func (c *sessionCache) remember(user string, historyBytes int) *session {
	s := &session{user: user, history: make([]byte, historyBytes)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.heldBytes+int64(historyBytes) <= c.maxBytes {
		c.sessions = append(c.sessions, s)
		c.heldBytes += int64(historyBytes)
	}
	return s
}

// handleSignIn takes ?user= and ?history=, the bytes of history to remember.
func (s *shop) handleSignIn(w http.ResponseWriter, r *http.Request) {
	size, err := strconv.Atoi(r.FormValue("history"))
	if err != nil || size < 0 || size > 64<<20 {
		http.Error(w, "history must be 0..67108864 bytes", http.StatusBadRequest)
		return
	}
	session := s.sessions.remember(r.FormValue("user"), size)
	fmt.Fprintf(w, "welcome back, %s\n", session.user)
}
