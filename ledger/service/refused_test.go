package service

import (
	"testing"
	"time"
)

// TestRefusalsAreBounded: so many in a minute, and no more until it is over, whatever the clock does.
func TestRefusalsAreBounded(t *testing.T) {
	t.Parallel()
	var r refusals
	at := time.Date(2027, 3, 1, 8, 0, 0, 0, time.UTC)
	for i := range maxRefusals + 10 {
		if r.take(at.Add(time.Duration(i)*time.Millisecond)) != (i < maxRefusals) {
			t.Fatalf("number %d", i)
		}
	}
	if !r.take(at.Add(time.Minute)) || !r.take(at.Add(-time.Hour)) {
		t.Error("the minute is over, or the clock went back")
	}
}
