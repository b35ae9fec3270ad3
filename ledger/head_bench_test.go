package ledger

import (
	"fmt"
	"sync"
	"testing"

	"github.com/persoline/persoline/ledger/ledgertest/pgtest"
	"github.com/persoline/persoline/perso"
)

// BenchmarkProcesses leads chips from contact to bin with one, two and four ledger processes on one PostgreSQL, whose heads fight for
// the head of one log; all of them, the vault double and the server share this machine. An op is one card.
func BenchmarkProcesses(b *testing.B) {
	const heads, acts = 64, 4
	for _, n := range []int{1, 2, 4} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			at := pgtest.URL(b)
			s := newSiteOn(b, pgtest.Open(b, at))
			s.vault.acts = acts
			s.makeLot(spec{good: b.N, spares: 0})
			chips := make(chan *chip, b.N)
			for _, c := range s.stock(b.N) {
				chips <- c
			}
			close(chips)
			peers := s.peers(at, n)
			var wg sync.WaitGroup
			b.ResetTimer()
			for k := range heads {
				own := peers[k%n]
				wg.Go(func() {
					for c := range chips {
						q := s.begin(c, s.at(uint16(k)))
						for {
							a, err := own.Act(b.Context(), q)
							if err != nil {
								b.Error(err)
								return
							}
							if a.Verdict != nil {
								break
							}
							q = next(q, "x")
						}
						if err := s.bin(q.Present, perso.VerdictGood); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "cards/s")
		})
	}
}
