package script

import "fmt"

// image is the command data of a section, end to end, with zeros where variables go. It is made once, when a script was
// compiled or decoded, so that filling a card's script is copying and patching.
type image struct {
	data    []byte
	ends    []int // of each step's data
	patches []patch
}

// patch is a place in an image.
type patch struct {
	at, step int
	use      int // which of the act's variables
	from, to int // of its bytes
}

func (m *image) start(step int) int {
	if step == 0 {
		return 0
	}
	return m.ends[step-1]
}

// prepare completes a script that keeps the rules: the numbers of its steps and the images of its sections.
func (s *Script) prepare() {
	s.number()
	s.uses = make([][]Ref, len(s.Acts))
	for a, act := range s.Acts {
		places := map[Ref]int{}
		for i := range act {
			act[i].image = s.imageOf(a, &act[i], places)
		}
	}
}

func (s *Script) imageOf(act int, sec *Section, places map[Ref]int) (m image) {
	for j := range sec.Steps {
		for _, g := range sec.Steps[j].Body {
			if g.Var == nil {
				m.data = append(m.data, g.Bytes...)
				continue
			}
			whole := *g.Var
			whole.From, whole.To = 0, whole.Size
			use, known := places[whole]
			if !known {
				use = len(s.uses[act])
				places[whole], s.uses[act] = use, append(s.uses[act], whole)
			}
			m.patches = append(m.patches, patch{at: len(m.data), step: j, use: use, from: g.Var.From, to: g.Var.To})
			m.data = append(m.data, make([]byte, g.size())...)
		}
		m.ends = append(m.ends, len(m.data))
	}
	return m
}

// fill puts the values of the variables into a copy of the section's image.
func (sec *Section) fill(data []byte, b *binding) error {
	for _, p := range sec.image.patches {
		value, err := b.value(p.use)
		if err != nil {
			return fmt.Errorf("rendering step %q: %w", sec.Steps[p.step].Label, err)
		}
		copy(data[p.at:], value[p.from:p.to])
	}
	return nil
}

// binding is the values of an act's variables for one card, each bound when it is first needed.
type binding struct {
	uses   []Ref
	binder Binder
	values [][]byte
	pool   []byte // in which the values lie; it never grows, for that would leave secrets behind
}

func newBinding(uses []Ref, b Binder) *binding {
	room := 0
	for i := range uses {
		room += uses[i].room()
	}
	return &binding{uses: uses, binder: b, values: make([][]byte, len(uses)), pool: make([]byte, 0, room)}
}

func (b *binding) value(use int) ([]byte, error) {
	if b.values[use] != nil {
		return b.values[use], nil
	}
	start := len(b.pool)
	pool, err := b.uses[use].bind(b.pool, b.binder)
	if err != nil {
		return nil, err
	}
	b.pool, b.values[use] = pool, pool[start:]
	return b.values[use], nil
}

func (b *binding) wipe() { clear(b.pool[:cap(b.pool)]) }
