package script

// section checks one section: can it be skipped, repeated and run after any other was skipped?
func (r *rules) section(act int, sec *Section) {
	if sec.Name == "" {
		if sec.Redo != RedoAlways || sec.When != "" || len(sec.Done) > 0 {
			r.bad(sec.pos, "name it with .SECTION", "conditions on an unnamed section")
		}
	} else {
		r.named(act, sec)
	}
	if act > 0 {
		r.target(sec)
	}
}

func (r *rules) named(act int, sec *Section) {
	if sec.Phase != PhaseWrite || !name(labelForm, sec.Name) {
		r.bad(sec.pos, "sections belong to the phase write; names are a-z, 0-9, dot and hyphen", "section %q in phase %q", sec.Name, sec.Phase)
	}
	if sec.When != "" && !name(labelForm, sec.When) {
		r.bad(sec.pos, "names are a-z, 0-9, dot and hyphen", "condition %q", sec.When)
	}
	switch sec.Redo {
	case RedoSafe:
	case RedoNever:
		if len(sec.Done) == 0 {
			r.bad(sec.pos, "give it DONE=, or no interrupted chip can be continued", "section %q is never redone and cannot be found done", sec.Name)
		}
	case RedoDeleteFirst:
		if !deletesFirst(sec) {
			r.bad(sec.pos, "begin with DELETE and accept (9000|6A88)", "section %q does not delete first", sec.Name)
		}
	default:
		r.bad(sec.pos, "REDO is safe, delete-first or never", "section %q with REDO=%s", sec.Name, sec.Redo)
	}
	if len(sec.Done) > MaxSections {
		r.bad(sec.pos, "use fewer alternatives", "%d alternatives in DONE, limit %d", len(sec.Done), MaxSections)
	}
	for _, all := range sec.Done {
		if len(all) == 0 || len(all) > MaxSections {
			r.bad(sec.pos, "name a probe and its data", "%d conditions joined by & in DONE, limit %d", len(all), MaxSections)
		}
		for i := range all {
			r.condition(act, &all[i])
		}
	}
}

// deletesFirst wants a DELETE that tolerates absence as the first command that writes.
func deletesFirst(sec *Section) bool {
	for i := range sec.Steps {
		st := &sec.Steps[i]
		if !st.ReadOnly() {
			return st.Header[1] == insDelete && st.SW.Match(0x6A88)
		}
	}
	return false
}

// condition checks one label[data]: the probe must have been answered, inside the channel, in an act before this one.
func (r *rules) condition(act int, c *Condition) {
	var probe *Step
	probedIn := 0
	r.script.walk(func(a int, _ *Section, st *Step) {
		if st.Label == c.Probe && probe == nil {
			probe, probedIn = st, a
		}
	})
	switch {
	case probe == nil:
		r.bad(c.pos, "label the command that reads it, in phase open", "DONE names an unknown label %q", c.Probe)
		return
	case probe.Purpose != PurposeProbe:
		r.bad(c.pos, "mark that command with => probe", "DONE names %q, which is no probe", c.Probe)
	case probedIn >= act:
		r.bad(c.pos, "probe in an earlier act, best in phase open", "DONE names %q, which is not answered yet", c.Probe)
	}
	if n := size(c.Pattern); n == 0 || n > MaxPatternBytes {
		r.bad(c.pos, "write what the answer contains", "a condition of %d bytes, limit %d", n, MaxPatternBytes)
	}
	// A condition compares inside the vault what came through the channel, as a step inside the channel does.
	r.segments(&Step{Secure: true, pos: c.pos}, c.Pattern, PhaseWrite, true)
}

// target wants INSTALL [for personalization] before the first STORE DATA or GENERATE of each section: the section before
// it may have been skipped, and its target with it.
func (r *rules) target(sec *Section) {
	for i := range sec.Steps {
		st := &sec.Steps[i]
		switch ins, p1 := st.Header[1], st.Header[2]; {
		case ins == insInstall && p1 == installPerso:
			return
		case ins == insStoreData || ins == insGenerate:
			r.bad(st.pos, "begin with 80E62000 <0000 <{AID…}> 000000>: what ran before may have been skipped",
				"%X before this section chose its security domain", st.Header)
			return
		}
	}
}
