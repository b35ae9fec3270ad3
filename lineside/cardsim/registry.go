package cardsim

import (
	"bytes"
	"iter"
	"slices"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/tlv"
)

// Life cycle states of what is loaded (Card Specification tables 11-3, 11-4).
const (
	stateLoaded    = 0x01
	stateInstalled = 0x03
	stateLockedBit = 0x80
)

// loadFileEntry is an executable load file of the registry.
type loadFileEntry struct {
	at      cell
	aid     []byte
	digest  []byte
	modules [][]byte
}

// instanceEntry is an application of the registry.
type instanceEntry struct {
	at                            cell
	aid, file, module, privileges []byte
	state                         byte
}

func (e *instanceEntry) bytes() []byte {
	return append(withLength(withLength(withLength(withLength(nil, e.aid), e.file), e.module), e.privileges), e.state)
}

// loadFiles are those of the ISD, which came by LOAD.
func (c *Chip) loadFiles() []loadFileEntry { return c.loadFilesOf(domISD) }

// loadFilesOf are all of a domain: of an ISD-P those that its package brought. What cannot be read was not written by this chip.
func (c *Chip) loadFilesOf(d domain) (all []loadFileEntry) {
	const sizeBytes, digestBytes = 4, 32
	for _, e := range c.mem.span(cellOf(d, kindLoadFile, 0), cellOf(d, kindLoadFile+1, 0)) {
		aid, rest, ok := cutLV(e.value)
		if !ok || len(rest) < sizeBytes+digestBytes+1 {
			continue
		}
		one := loadFileEntry{at: e.at, aid: aid, digest: rest[sizeBytes:][:digestBytes]}
		for rest = rest[sizeBytes+digestBytes+1:]; len(rest) > 0; {
			var module []byte
			if module, rest, ok = cutLV(rest); !ok {
				break
			}
			one.modules = append(one.modules, module)
		}
		all = append(all, one)
	}
	return all
}

func (c *Chip) loadFile(aid []byte) (loadFileEntry, bool) {
	all := c.loadFiles()
	i := slices.IndexFunc(all, func(e loadFileEntry) bool { return bytes.Equal(e.aid, aid) })
	if i < 0 {
		return loadFileEntry{}, false
	}
	return all[i], true
}

// instances are those of the ISD, which came by INSTALL.
func (c *Chip) instances() []instanceEntry { return c.instancesOf(domISD) }

func (c *Chip) instancesOf(d domain) (all []instanceEntry) {
	for _, e := range c.mem.span(cellOf(d, kindInstance, 0), cellOf(d, kindInstance+1, 0)) {
		one, rest, ok := instanceEntry{at: e.at}, e.value, true
		for _, part := range []*[]byte{&one.aid, &one.file, &one.module, &one.privileges} {
			if ok {
				*part, rest, ok = cutLV(rest)
			}
		}
		if ok && len(rest) == 1 {
			one.state = rest[0]
			all = append(all, one)
		}
	}
	return all
}

func (c *Chip) instance(aid []byte) (instanceEntry, bool) { return c.instanceOf(domISD, aid) }

func (c *Chip) instanceOf(d domain, aid []byte) (instanceEntry, bool) {
	all := c.instancesOf(d)
	i := slices.IndexFunc(all, func(e instanceEntry) bool { return bytes.Equal(e.aid, aid) })
	if i < 0 {
		return instanceEntry{}, false
	}
	return all[i], true
}

// installInstance is INSTALL [for install], with and without [for make selectable] (Card Specification §11.5.2.3.2).
func (c *Chip) installInstance(cmd apdu.Command) ([]byte, apdu.SW) {
	const domainPrivilege, shortPrivileges, longPrivileges, tagParameters = 0x80, 1, 3, 0xC9
	f, ok := splitLV(cmd.Data, 6)
	if !ok || !isAID(f[2]) || len(f[3]) != shortPrivileges && len(f[3]) != longPrivileges || f[3][0]&domainPrivilege != 0 || len(f[5]) != 0 {
		return nil, apdu.SWWrongData
	}
	if _, found, err := tlv.Find(f[4], tagParameters); err != nil || !found {
		return nil, apdu.SWWrongData
	}
	file, found := c.loadFile(f[0])
	switch {
	case !found || !slices.ContainsFunc(file.modules, func(m []byte) bool { return bytes.Equal(m, f[1]) }):
		return nil, apdu.SWRefDataNotFound
	case c.named(f[2]) && !slices.ContainsFunc(file.modules, func(m []byte) bool { return bytes.Equal(m, f[2]) }):
		return nil, apdu.SWConditions
	}
	if _, there := c.instance(f[2]); there {
		return nil, apdu.SWConditions
	}
	n := c.freeCell(kindInstance, maxInstances)
	if n == 0 {
		return nil, apdu.SWNoSpace
	}
	one := instanceEntry{at: cellOf(domISD, kindInstance, n), aid: f[2], file: f[0], module: f[1], privileges: f[3], state: stateInstalled}
	if cmd.P1&installSelect != 0 {
		one.state = stateSelectable
	}
	return c.register(one)
}

// makeSelectable is INSTALL [for make selectable] of an application that was installed before.
func (c *Chip) makeSelectable(cmd apdu.Command) ([]byte, apdu.SW) {
	f, ok := splitLV(cmd.Data, 6)
	if !ok || len(f[0])+len(f[1])+len(f[4])+len(f[5]) != 0 {
		return nil, apdu.SWWrongData
	}
	one, found := c.instance(f[2])
	switch {
	case !found:
		return nil, apdu.SWRefDataNotFound
	case one.state != stateInstalled:
		return nil, apdu.SWConditions
	}
	if one.state = stateSelectable; len(f[3]) != 0 {
		one.privileges = f[3]
	}
	return c.register(one)
}

func (c *Chip) register(one instanceEntry) ([]byte, apdu.SW) {
	var all changes
	all.put(one.at, one.bytes()...)
	if sw := c.commit(all); !sw.OK() {
		return nil, sw
	}
	return []byte{0}, apdu.SWOK
}

// deleteLoaded deletes an application, or a load file; of a load file also what was made of it, if that is asked for.
func (c *Chip) deleteLoaded(aid []byte, related bool) apdu.SW {
	var all changes
	if one, found := c.instance(aid); found {
		all.drop(one.at)
		return c.commit(all)
	}
	file, found := c.loadFile(aid)
	if !found {
		return apdu.SWRefDataNotFound
	}
	for _, one := range c.instances() {
		if !bytes.Equal(one.file, aid) {
			continue
		}
		if !related {
			return apdu.SWConditions
		}
		all.drop(one.at)
	}
	all.drop(file.at)
	return c.commit(all)
}

// instanceStatus moves the life cycle of an application: the states of its own, and locked and back (§5.3.1).
func (c *Chip) instanceStatus(aid []byte, to byte) apdu.SW {
	const ownStates = 0x07
	one, found := c.instance(aid)
	locked := one.state&stateLockedBit != 0
	switch {
	case !found:
		return apdu.SWRefDataNotFound
	case to == one.state:
		return apdu.SWOK
	case to == one.state|stateLockedBit && one.state >= stateInstalled, locked && to == one.state&^stateLockedBit:
	case locked || one.state < stateSelectable || to&ownStates != ownStates || to&stateLockedBit != 0:
		return apdu.SWConditions
	}
	one.state = to
	_, sw := c.register(one)
	return sw
}

// statusEntries are the answers to GET STATUS of a scope, in order, of what begins as asked.
func (c *Chip) statusEntries(scope byte, prefix []byte) (all [][]byte, ok bool) {
	const scopeISD, scopeDomains, scopeFiles, scopeModules = 0x80, 0x40, 0x20, 0x10
	const tagModule, tagOfFile, tagOfDomain = 0x84, 0xC4, 0xCC
	add := func(aid []byte, state byte, more ...[]byte) {
		if bytes.HasPrefix(aid, prefix) {
			parts := append([][]byte{tlv.Encode(tagAID, aid), tlv.Encode(tagLifeCycle, []byte{state})}, more...)
			all = append(all, tlv.Encode(tagStatusEntry, parts...))
		}
	}
	from, to := domISDR, domEnd
	switch scope {
	case scopeISD:
		from, to = domISD, domISDR
	case scopeDomains:
	case scopeFiles, scopeModules:
		for d, of := range c.owners() {
			for _, f := range c.loadFilesOf(d) {
				var modules [][]byte
				for _, m := range f.modules {
					if scope == scopeModules {
						modules = append(modules, tlv.Encode(tagModule, m))
					}
				}
				add(f.aid, stateLoaded, append(modules, tlv.Encode(tagOfDomain, of))...)
			}
		}
		return all, true
	default:
		return nil, false
	}
	for d := from; d < to; d++ {
		if aid, exists := c.mem.get(cellOf(d, kindAID, 0)); exists {
			add(aid, c.state(d), tlv.Encode(tagPrivileges, []byte(d.privileges())))
		}
	}
	if scope == scopeDomains {
		for d, of := range c.owners() {
			for _, one := range c.instancesOf(d) {
				add(one.aid, one.state, tlv.Encode(tagPrivileges, one.privileges), tlv.Encode(tagOfFile, one.file), tlv.Encode(tagOfDomain, of))
			}
		}
	}
	return all, true
}

// owners are the domains that may have load files and applications, with their names: the ISD, and the ISD-Ps.
func (c *Chip) owners() iter.Seq2[domain, []byte] {
	return func(yield func(domain, []byte) bool) {
		for d := domISD; d < domEnd; d++ {
			if aid, exists := c.mem.get(cellOf(d, kindAID, 0)); exists && (d == domISD || d.isProfile()) && !yield(d, aid) {
				return
			}
		}
	}
}

// listing is a GET STATUS whose answer did not fit at once.
type listing struct {
	scope  byte
	prefix []byte
	next   int // of the entries
}

// getStatus lists the ISD (P1 80), the other domains and the applications (40), or the load files (20, with their modules 10), as
// far as they fit; with 6310 the rest is asked for by P2 03 (Card Specification §11.4).
func (c *Chip) getStatus(cmd apdu.Command) ([]byte, apdu.SW) {
	const asTLV, next = 0x02, 0x01
	wanted, rest, err := tlv.Parse(cmd.Data)
	if cmd.P2&^next != asTLV {
		return nil, apdu.SWWrongP1P2
	}
	if err != nil || wanted.Tag != tagAID || len(rest) != 0 {
		return nil, apdu.SWWrongData
	}
	l := listing{scope: cmd.P1, prefix: bytes.Clone(wanted.Value)}
	if cmd.P2&next != 0 {
		if c.v.list == nil || c.v.list.scope != l.scope || !bytes.Equal(c.v.list.prefix, l.prefix) {
			return nil, apdu.SWConditions
		}
		l.next = c.v.list.next
	}
	c.v.list = nil
	entries, ok := c.statusEntries(cmd.P1, wanted.Value)
	switch {
	case !ok:
		return nil, apdu.SWWrongP1P2
	case l.next >= len(entries):
		return nil, apdu.SWRefDataNotFound
	}
	var out []byte
	room := c.p.Options.room(c.v.channel.Level())
	for ; l.next < len(entries) && len(out)+len(entries[l.next]) <= room; l.next++ {
		out = append(out, entries[l.next]...)
	}
	data, sw := fit(out, cmd.Le)
	if sw.OK() && l.next < len(entries) {
		c.v.list, sw = &l, apdu.SWMoreDataBER
	}
	return data, sw
}
