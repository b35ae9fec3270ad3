package script

import (
	"errors"
	"fmt"
)

// ErrUndecided says that Skip lacks what a condition needs.
var ErrUndecided = errors.New("condition cannot be decided")

// Skip decides which sections of act are left out: those whose WHEN is false and those whose DONE is true. captures
// holds the unwrapped answer data of every probe of earlier acts by label, empty where the chip had nothing; when holds
// the vault's own decisions by name. Conditions are decided when the act is rendered, because what they compare with may
// not exist before. The result has one entry per section of the act.
func (s *Script) Skip(act int, captures map[string][]byte, when map[string]bool, b Binder) ([]bool, error) {
	if act < 0 || act >= len(s.Acts) {
		return nil, fmt.Errorf("deciding act %d: %w", act, ErrAct)
	}
	skip := make([]bool, len(s.Acts[act]))
	for i := range s.Acts[act] {
		sec := &s.Acts[act][i]
		if sec.When != "" {
			run, known := when[sec.When]
			if !known {
				return nil, fmt.Errorf("deciding section %q: no decision %q: %w", sec.Name, sec.When, ErrUndecided)
			}
			if !run {
				skip[i] = true
				continue
			}
		}
		done, err := sec.Done.holds(captures, b)
		if err != nil {
			return nil, fmt.Errorf("deciding section %q: %w", sec.Name, err)
		}
		skip[i] = done
	}
	return skip, nil
}

func (d Done) holds(captures map[string][]byte, b Binder) (bool, error) {
	for _, all := range d {
		if ok, err := all.hold(captures, b); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

func (all AllOf) hold(captures map[string][]byte, b Binder) (bool, error) {
	for i := range all {
		answer, known := captures[all[i].Probe]
		if !known {
			return false, fmt.Errorf("no answer of probe %q: %w", all[i].Probe, ErrUndecided)
		}
		if ok, err := all[i].Pattern.in(answer, b); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// in says whether data contains the pattern at some byte. Variables are bound only where all literals already fit, so a
// blank chip is recognised without touching a secret.
func (p Pattern) in(data []byte, b Binder) (bool, error) {
	n := size(p)
	for start := 0; start+n <= len(data); start++ {
		if !p.literalsAt(data[start : start+n]) {
			continue
		}
		if ok, err := p.variablesAt(data[start:start+n], b); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

func (p Pattern) literalsAt(data []byte) bool {
	for i := range p {
		n := p[i].size()
		if p[i].Var == nil && !p[i].literalMatches(data[:n]) {
			return false
		}
		data = data[n:]
	}
	return true
}

func (p Pattern) variablesAt(data []byte, b Binder) (bool, error) {
	for i := range p {
		n := p[i].size()
		if p[i].Var != nil {
			if ok, err := p[i].matches(data[:n], b); !ok || err != nil {
				return false, err
			}
		}
		data = data[n:]
	}
	return true, nil
}
