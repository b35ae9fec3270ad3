package service

import (
	"fmt"
	"testing"

	"github.com/persoline/persoline/perso"
)

// TestLinesHaveTheirVaults: every vault has a line and every line a vault, and no line waits for two vaults where there are
// enough lines.
func TestLinesHaveTheirVaults(t *testing.T) {
	t.Parallel()
	for lines := 1; lines <= 5; lines++ {
		for vaults := 2; vaults <= 5; vaults++ {
			s := &Service{c: Config{Lines: make([]perso.Name, lines)}}
			for v := range vaults {
				s.c.Vaults = append(s.c.Vaults, perso.Name(fmt.Sprintf("vault-%d", v+1)))
			}
			served := map[perso.Name]int{}
			for line := range lines {
				n := 0
				for _, v := range s.c.Vaults {
					if s.worksFor(line, v) {
						served[v]++
						n++
					}
				}
				if n == 0 || lines >= vaults && n != 1 || !s.worksFor(line, "") {
					t.Errorf("line %d of %d works for %d of %d vaults", line, lines, n, vaults)
				}
			}
			if len(served) != vaults {
				t.Errorf("%d lines: %d of %d vaults have one", lines, len(served), vaults)
			}
		}
	}
	one := &Service{c: Config{Lines: make([]perso.Name, 3), Vaults: []perso.Name{"vault-1"}}}
	if !one.worksFor(2, "vault-1") || !one.worksFor(0, "") {
		t.Error("with one vault not every line works for it")
	}
}
