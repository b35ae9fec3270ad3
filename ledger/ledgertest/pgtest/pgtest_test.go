package pgtest_test

import (
	"os"
	"testing"

	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/ledger/ledgertest/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]func(testing.TB) string{"PostgreSQL": pgtest.URL, "CockroachDB": pgtest.CockroachURL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at(t) // skips here, where there is none, and not in each case
			ledgertest.Run(t, func(t *testing.T) ledgertest.DB { return pgtest.Open(t, at(t)) })
		})
	}
}
